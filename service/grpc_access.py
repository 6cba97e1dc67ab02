"""Around every gRPC call: decode safely, translate errors, count. LINE A step 1.

grpc.aio answers an unhandled exception with its text and a request that is not protobuf with UNKNOWN; both are handled
here once, so that no handler can leak or crash.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types

from contract.errors import InvalidRequest, RipenError
from service.metrics import Metrics
from service.status_map import INTERNAL_MESSAGE, client_message, status_of

MAX_MESSAGE_LENGTH = 1024  # TensorFlow Serving cuts there too; gRPC carries the text in a header
Message = Any  # protobuf's generated classes carry no types
logger = logging.getLogger(__name__)


@dataclass
class Call:
    """One call in progress. Handlers fill in what they learn; the counters read it afterwards.

    Attributes:
        timeout_s: the caller's remaining time; None where it set no deadline.
        model, version: who answered.
        code, details: how it ended; CANCELLED where neither an answer nor an error came.
    """

    timeout_s: float | None
    model: str = ""
    version: int | None = None
    code: grpc.StatusCode = grpc.StatusCode.CANCELLED
    details: str = ""


Handler = Callable[[Message, Call], Awaitable[Message]]


class GrpcAccess:
    """Makes gRPC method handlers out of plain async functions.

    Args:
        known_models: the closed set of the `model` label.
    """

    def __init__(self, metrics: Metrics, known_models: Callable[[], frozenset[str]]) -> None:
        self._metrics = metrics
        self._known_models = known_models

    def method(self, name: str, request: Message, response: Message, handler: Handler) -> grpc.RpcMethodHandler:
        """A unary method called `name` in the metrics; `request` and `response` are message classes."""

        async def answer_or_abort(message: Message, context: grpc.aio.ServicerContext) -> Message:
            """Called by grpc.aio once per request; `abort` raises."""
            call = Call(context.time_remaining())
            with self._counted(name, call):
                answer = await _answer(name, message, call, handler)
            if call.code is not grpc.StatusCode.OK:
                await context.abort(call.code, _cut(call.details))
            return answer

        return grpc.unary_unary_rpc_method_handler(
            answer_or_abort,
            request_deserializer=lambda data: _decode(request, data),
            response_serializer=response.SerializeToString,
        )

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


async def _answer(name: str, message: Message, call: Call, handler: Handler) -> Message:
    try:
        answer = await handler(_valid(message), call)
    except RipenError as error:
        call.code, call.details = status_of(error).grpc, client_message(error)
        if call.code is grpc.StatusCode.INTERNAL:
            logger.exception("gRPC %s failed", name)
        return None
    except Exception:
        call.code, call.details = grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE
        logger.exception("gRPC %s failed", name)
        return None
    call.code = grpc.StatusCode.OK
    return answer


def _valid(message: Message) -> Message:
    if isinstance(message, RipenError):
        raise message
    return message


def _decode(kind: Message, data: bytes) -> Message:
    try:
        return kind.FromString(data)
    except DecodeError:
        return InvalidRequest(f"The request is not a valid {kind.DESCRIPTOR.full_name} message.")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_LENGTH else text[:MAX_MESSAGE_LENGTH] + "...TRUNCATED"
