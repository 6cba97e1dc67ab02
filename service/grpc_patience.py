"""How long the one message of a gRPC call may take to come: the library would wait for ever. LINE A step 1.

A call without its message holds one of the server's places. On the wire a unary call is a stream with one message, so
that it can be read with a timeout.
"""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc

from service.grpc_access import Message
from service.roles import ANY, GRPC, OPEN

OPEN_CALLS = 16
OPEN_MESSAGE_S = 2.0
Messages = AsyncIterator[Message]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]]


class GrpcPatience(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Called by grpc.aio once per call; behind the gate, so that a call without a key never waits.

    Args:
        message_s: for the whole message.
    """

    def __init__(self, message_s: float) -> None:
        self._message_s = message_s
        self._open_calls = 0
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """The method's own handler, behind a read with a timeout where it takes one message."""
        if details.method not in self._handlers:
            handler = await continuation(details)
            if handler is None:  # not kept: a name that does not exist may be anything
                return None
            self._handlers[details.method] = self._in_time(handler, needs_key=GRPC.get(details.method, ANY) is not OPEN)
        return self._handlers[details.method]

    def _in_time(self, handler: grpc.RpcMethodHandler, *, needs_key: bool) -> grpc.RpcMethodHandler:
        if handler.request_streaming:
            return handler
        read = self._message if needs_key else self._open_message
        coders = handler.request_deserializer, handler.response_serializer
        if not handler.response_streaming:

            async def answer(messages: Messages, context: grpc.aio.ServicerContext) -> Message:
                return await handler.unary_unary(await read(messages, context), context)

            return grpc.stream_unary_rpc_method_handler(answer, *coders)

        async def tell(messages: Messages, context: grpc.aio.ServicerContext) -> None:
            """Called by grpc.aio once per call; what a generator gives is written, whatever else writes by itself."""
            told = handler.unary_stream(await read(messages, context), context)
            if not inspect.isasyncgen(told):
                await told
                return
            async with contextlib.aclosing(told):
                async for one in told:
                    await context.write(one)

        return grpc.stream_stream_rpc_method_handler(tell, *coders)

    async def _open_message(self, messages: Messages, context: grpc.aio.ServicerContext) -> Message:
        """The one message of a call that needs no key: a few at a time, and soon, or anybody could take all places."""
        if self._open_calls >= OPEN_CALLS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{OPEN_CALLS} such calls are being read already.")
        self._open_calls += 1
        try:
            return await self._message(messages, context, OPEN_MESSAGE_S)
        finally:
            self._open_calls -= 1

    async def _message(
        self, messages: Messages, context: grpc.aio.ServicerContext, message_s: float | None = None
    ) -> Message:
        """The one message; `abort` raises."""
        longest_s = self._message_s if message_s is None else message_s
        try:
            async with asyncio.timeout(longest_s):
                return await anext(messages)
        except StopAsyncIteration:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call ended without a message; send one.")
        except TimeoutError:
            late = f"The message did not come within {longest_s:g} s; send all of it in that time."
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, late)
