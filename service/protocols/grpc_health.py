"""grpc.health.v1 over the service's readiness. LINE A step 1.

The library's own servicer keeps statuses that somebody must set; this one asks, so it cannot be out of date.
"""

from collections.abc import AsyncIterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.protocols.grpc_learning import LEARNING
from service.protocols.grpc_ripen import CLASSIFIER
from service.protocols.grpc_tf_serving import MODEL_SERVICE, PREDICTION_SERVICE
from service.protocols.tensors import Message
from service.readiness import Readiness

SERVICES = ("", CLASSIFIER, LEARNING, PREDICTION_SERVICE, MODEL_SERVICE, "PredictionService", "ModelService")
LOOK_EVERY_S = 0.25
MAX_WATCHES = 64  # each keeps one of the server's places for as long as it likes
Status = health_pb2.HealthCheckResponse


class HealthGrpc(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # generated without types
    """SERVING while the service is ready; the answer is the same for every service name."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._watches = 0

    async def Check(self, request: Message, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802  # grpc's name
        """The status now; NOT_FOUND for a service that does not exist."""
        if request.service not in SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Unknown service; expected one of {', '.join(SERVICES)}.")
        return Status(status=self._status())

    async def List(self, request: Message, context: grpc.aio.ServicerContext) -> Message:  # noqa: ARG002, N802  # grpc's
        """The status of every service now; the generated class would answer with its own exception's text."""
        status = Status(status=self._status())
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(SERVICES, status))

    async def Watch(  # noqa: N802  # grpc's name
        self, request: Message, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Message]:
        """The status at once and whenever it changes, until the service stops; RESOURCE_EXHAUSTED for one too many."""
        if self._watches >= MAX_WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WATCHES} calls watch already; use Check.")
        self._watches += 1
        try:
            async for status in self._statuses(request.service in SERVICES):
                yield Status(status=status)
        finally:
            self._watches -= 1

    async def _statuses(self, known: bool) -> AsyncIterator[int]:
        last: int | None = None
        stopping = False
        while not stopping:
            stopping = self._readiness.stopping
            status = self._status() if known else int(Status.SERVICE_UNKNOWN)
            if status != last:
                yield status
            last = status
            if not stopping:
                await self._readiness.stopped_within(LOOK_EVERY_S)

    def _status(self) -> int:
        return int(Status.SERVING if self._readiness.reason() is None else Status.NOT_SERVING)
