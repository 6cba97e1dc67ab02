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

Messages = AsyncIterator[Message]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]]


class GrpcPatience(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Called by grpc.aio once per call; behind the gate, so that a call without a key never waits.

    Args:
        message_s: for the whole message.
    """

    def __init__(self, message_s: float) -> None:
        self._message_s = message_s
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """The method's own handler, behind a read with a timeout where it takes one message."""
        if details.method not in self._handlers:
            handler = await continuation(details)
            if handler is None:  # not kept: a name that does not exist may be anything
                return None
            self._handlers[details.method] = self._in_time(handler)
        return self._handlers[details.method]

    def _in_time(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        if handler.request_streaming:
            return handler
        coders = handler.request_deserializer, handler.response_serializer
        if not handler.response_streaming:

            async def answer(messages: Messages, context: grpc.aio.ServicerContext) -> Message:
                return await handler.unary_unary(await self._message(messages, context), context)

            return grpc.stream_unary_rpc_method_handler(answer, *coders)

        async def tell(messages: Messages, context: grpc.aio.ServicerContext) -> None:
            told = handler.unary_stream(await self._message(messages, context), context)
            if not inspect.isasyncgen(told):
                await told
                return
            async with contextlib.aclosing(told):
                async for one in told:
                    await context.write(one)

        return grpc.stream_stream_rpc_method_handler(tell, *coders)

    async def _message(self, messages: Messages, context: grpc.aio.ServicerContext) -> Message:
        """The one message; `abort` raises."""
        try:
            async with asyncio.timeout(self._message_s):
                return await anext(messages)
        except StopAsyncIteration:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call ended without a message; send one.")
        except TimeoutError:
            late = f"The message did not come within {self._message_s:g} s; send all of it in that time."
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, late)
