"""Around every gRPC call, unary or streaming: decode safely, translate errors, count. LINE A step 1.

grpc.aio answers an unhandled exception with its text and a request that is not protobuf with UNKNOWN; both are handled
here once, so that no handler can leak or crash.
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types

from contract.errors import InvalidRequest, RipenError
from service.callers import NO_ACTOR, Callers
from service.metrics import Metrics
from service.status_map import INTERNAL_MESSAGE, client_message, retry_after_s, status_of

MAX_MESSAGE_LENGTH = 1024  # TensorFlow Serving cuts there too; gRPC carries the text in a header
RETRIABLE = (429, 503)  # of REST: where `Retry-After` is said there, `retry-after` is said here
INTERNAL = "internal"
Message = Any  # protobuf's generated classes carry no types
logger = logging.getLogger(__name__)


@dataclass
class Call:
    """One call in progress. Handlers fill in what they learn; the counters read it afterwards.

    Attributes:
        timeout_s: the caller's remaining time; None where it set no deadline.
        model, version: who answered.
        code, details: how it ended; CANCELLED where neither an answer nor an error came.
        error, retry_after_s: our own name of what went wrong, as in REST; when trying again may help, 0 for never.
        request_id: finds the call in the log; sent with every error.
        actor: who calls, for the audit log.
    """

    timeout_s: float | None
    model: str = ""
    version: int | None = None
    code: grpc.StatusCode = grpc.StatusCode.CANCELLED
    details: str = ""
    error: str = ""
    retry_after_s: int = 0
    request_id: str = field(default_factory=lambda: os.urandom(16).hex())
    actor: str = NO_ACTOR

    def fail(self, error: RipenError) -> None:
        """End with an error of ours."""
        status = status_of(error)
        self.code, self.details = status.grpc, client_message(error)
        self.retry_after_s = retry_after_s(status.rest) if status.rest in RETRIABLE else 0
        self.error = INTERNAL if self.code is grpc.StatusCode.INTERNAL else error.code

    @property
    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        """What an error carries beside its code and text."""
        told = {"ripen-error-code": self.error, "x-request-id": self.request_id}
        if self.retry_after_s:
            told["retry-after"] = str(self.retry_after_s)
            if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # libraries that retry by themselves keep to it
                told["grpc-retry-pushback-ms"] = str(1000 * self.retry_after_s)
        return tuple(told.items())


SMALL_BYTES = 2**20  # of a message without images; parsed, a hostile one takes thirty times its size
WITH_IMAGES = frozenset(
    {
        "ripen.v1.ClassifyRequest",
        "ripen.v1.ClassifyStreamRequest",
        "ripen.v1.AddExampleRequest",
        "tensorflow.serving.PredictRequest",
    }
)
Handler = Callable[[Message, Call], Awaitable[Message]]
Work = Callable[[Call], Awaitable[Message]]


class GrpcAccess:
    """Makes gRPC method handlers out of plain async functions.

    Args:
        known_models: the closed set of the `model` label.
    """

    def __init__(self, metrics: Metrics, known_models: Callable[[], frozenset[str]], callers: Callers) -> None:
        self._metrics = metrics
        self._known_models = known_models
        self._callers = callers

    def method(self, name: str, request: Message, response: Message, handler: Handler) -> grpc.RpcMethodHandler:
        """A unary method called `name` in the metrics; `request` and `response` are message classes."""

        async def answer(message: Message, context: grpc.aio.ServicerContext) -> Message:
            """Called by grpc.aio once per request."""
            return await self.run(name, context, lambda call: handler(valid(message), call))

        return grpc.unary_unary_rpc_method_handler(answer, *coders(request, response))

    async def run(self, name: str, context: grpc.aio.ServicerContext, work: Work) -> Message:
        """Do the work of one call that was let in, unary or streaming."""

        async def work_named(call: Call) -> Message:
            call.actor = self._callers.named(lambda: authorization_of(context.invocation_metadata()))
            return await work(call)

        return await self.finish(name, context, work_named)

    async def finish(self, name: str, context: grpc.aio.ServicerContext, work: Work) -> Message:
        """Do the work of one call and count it; `abort` raises what ends it."""
        call = Call(context.time_remaining())
        with self._counted(name, call):
            answer = await _answer(name, call, work)
        if call.code is not grpc.StatusCode.OK:
            await context.abort(call.code, _cut(call.details), call.trailing_metadata)
        return answer

    @contextmanager
    def _counted(self, name: str, call: Call) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._metrics.observe_request(
                protocol="grpc",
                method=name,
                model=call.model if call.model in self._known_models() else "unknown",
                version=call.version,
                code=call.code.name,
                seconds=time.perf_counter() - began,
            )


async def _answer(name: str, call: Call, work: Work) -> Message:
    try:
        answer = await work(call)
    except RipenError as error:
        call.fail(error)
        if call.code is grpc.StatusCode.INTERNAL:
            logger.exception("gRPC %s failed, request %s", name, call.request_id)
        return None
    except Exception:
        call.code, call.details, call.error = grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE, INTERNAL
        logger.exception("gRPC %s failed, request %s", name, call.request_id)
        return None
    call.code = grpc.StatusCode.OK
    return answer


def coders(request: Message, response: Message) -> tuple[Callable[[bytes], Message], Callable[[Message], bytes]]:
    """What reads a request (an error in its place where it is none) and what writes an answer."""
    return lambda data: _decode(request, data), response.SerializeToString


def authorization_of(metadata: Iterable[tuple[str, str]]) -> list[str]:
    """All values of a call's `authorization`."""
    return [value for name, value in metadata if name == "authorization"]


def valid(message: Message) -> Message:
    """The decoded request, or the error that came in its place."""
    if isinstance(message, RipenError):
        raise message
    return message


def _decode(kind: Message, data: bytes) -> Message:
    name = kind.DESCRIPTOR.full_name
    if len(data) > SMALL_BYTES and name not in WITH_IMAGES:
        return InvalidRequest(f"The {name} message has {len(data)} bytes; expected {SMALL_BYTES} at most.")
    try:
        return kind.FromString(data)
    except DecodeError:
        return InvalidRequest(f"The request is not a valid {name} message.")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_LENGTH else text[:MAX_MESSAGE_LENGTH] + "...TRUNCATED"
