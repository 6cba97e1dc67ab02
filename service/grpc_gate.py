"""The gate of the gRPC port: who has no good key, or comes too late, ends before a message is read. LINE A step 1.

A generic handler and no interceptor, which is a coroutine more per call; and methods are not registered one by one,
since the library waits for the next call of each of those anew with every call.
"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import grpc

from contract.errors import RipenError, Unauthenticated
from service.callers import Callers
from service.grpc_access import Call, GrpcAccess, Message, authorization_of
from service.grpc_patience import GrpcPatience
from service.roles import ANY, GRPC, OPEN

REFUSED = "refused"  # the method's name in the metrics: what was asked for may be anything
PREDICTIONS = {"/ripen.v1.Classifier/Classify": "Classify", "/tensorflow.serving.PredictionService/Predict": "Predict"}


class GrpcGate(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Asked by grpc.aio once per call, before anything but the metadata has been read."""

    def __init__(
        self,
        callers: Callers,
        access: GrpcAccess,
        patience: GrpcPatience,
        refuse_early: Callable[[], RipenError | None],
    ) -> None:
        self._callers = callers
        self._access = access
        self._patience = patience
        self._refuse_early = refuse_early
        self._behind: list[grpc.GenericRpcHandler] = []
        self._found: dict[str, grpc.RpcMethodHandler] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Put services behind the gate, as one adds them to a server."""
        self._behind.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """What generated code calls on a server too; they are among the generic ones already."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of the call, or one that refuses it; also a method that does not exist is refused first."""
        method = details.method
        try:
            self._callers.of_call(method, authorization_of(details.invocation_metadata))
        except RipenError:
            return self._refusing(method)
        if method in PREDICTIONS and (refusal := self._refuse_early()) is not None:
            return self._turning_away(PREDICTIONS[method], refusal)
        return self._found.get(method) or self._find(details)

    def _find(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        found = (each.service(details) for each in self._behind)
        handler = next((each for each in found if each is not None), None)
        if handler is None:  # not kept: a name that does not exist may be anything
            return None
        needs_key = GRPC.get(details.method, ANY) is not OPEN
        self._found[details.method] = self._patience.in_time(handler, needs_key=needs_key)
        return self._found[details.method]

    def _refusing(self, method: str) -> grpc.RpcMethodHandler:
        async def refuse(_: Message, context: grpc.aio.ServicerContext) -> None:
            """Called by grpc.aio once per refused call."""

            async def work(_: Call) -> None:
                authorization = authorization_of(context.invocation_metadata())
                self._callers.of_call(method, authorization, _address(context.peer()))
                raise Unauthenticated("The API key has become known just now; send the call again.")

            await self._access.finish(REFUSED, context, work)

        return grpc.stream_stream_rpc_method_handler(refuse)  # of all kinds the one that reads nothing by itself

    def _turning_away(self, name: str, refusal: RipenError) -> grpc.RpcMethodHandler:
        async def refuse(_: Message, context: grpc.aio.ServicerContext) -> None:
            """Called by grpc.aio once per call that is turned away."""

            async def work(_: Call) -> None:
                raise refusal

            await self._access.finish(name, context, work)

        return grpc.stream_stream_rpc_method_handler(refuse)


def _address(peer: str) -> str:
    """`ipv4:127.0.0.1:50000` or `ipv6:%5B::1%5D:50000` as REST names it."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")
