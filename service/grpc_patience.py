"""How long the one message of a gRPC call may take to come: the library would wait for ever. LINE A step 1.

A call without its message holds one of the server's places. On the wire a unary call is a stream with one message, so
that its reading can be given up. One timer looks after all of them: a timer per call costs 4 us.
"""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator

import grpc

from service.grpc_access import Message

OPEN_CALLS = 16
OPEN_MESSAGE_S = 2.0
LOOK_EVERY_S = 0.25
NO_MORE = grpc.aio.EOF
Messages = AsyncIterator[Message]


class GrpcPatience:
    """Makes of a handler that is given its one message one that reads it in time.

    Args:
        message_s: for the whole message.
    """

    def __init__(self, message_s: float) -> None:
        self._message_s = message_s
        self._open_calls = 0
        self._until: dict[asyncio.Task[object], float] = {}  # of each call that is read now; 0: it was given up
        self._looking = False

    def in_time(self, handler: grpc.RpcMethodHandler, *, needs_key: bool) -> grpc.RpcMethodHandler:
        """The handler, behind a read with a timeout where it takes one message."""
        if handler.request_streaming:
            return handler
        read = self._message if needs_key else self._open_message
        coders = handler.request_deserializer, handler.response_serializer
        if not handler.response_streaming:

            async def answer(_: Messages, context: grpc.aio.ServicerContext) -> Message:
                return await handler.unary_unary(await read(context), context)

            return grpc.stream_unary_rpc_method_handler(answer, *coders)

        async def tell(_: Messages, context: grpc.aio.ServicerContext) -> None:
            """Called by grpc.aio once per call; what a generator gives is written, whatever else writes by itself."""
            told = handler.unary_stream(await read(context), context)
            if not inspect.isasyncgen(told):
                await told
                return
            async with contextlib.aclosing(told):
                async for one in told:
                    await context.write(one)

        return grpc.stream_stream_rpc_method_handler(tell, *coders)

    async def _open_message(self, context: grpc.aio.ServicerContext) -> Message:
        """The one message of a call that needs no key: a few at a time, and soon, or anybody could take all places."""
        if self._open_calls >= OPEN_CALLS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{OPEN_CALLS} such calls are being read already.")
        self._open_calls += 1
        try:
            return await self._message(context, OPEN_MESSAGE_S)
        finally:
            self._open_calls -= 1

    async def _message(self, context: grpc.aio.ServicerContext, message_s: float | None = None) -> Message:
        """The one message; `abort` raises."""
        longest_s = self._message_s if message_s is None else message_s
        try:
            message = await self._read(context, longest_s)
        except TimeoutError:
            late = f"The message did not come within {longest_s:g} s; send all of it in that time."
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, late)
        if message is NO_MORE:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call ended without a message; send one.")
        return message

    async def _read(self, context: grpc.aio.ServicerContext, longest_s: float) -> Message:
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        self._until[task] = loop.time() + longest_s
        if not self._looking:
            self._looking = True
            loop.call_later(LOOK_EVERY_S, self._look, loop)
        try:
            return await context.read()
        except asyncio.CancelledError:
            if self._until[task]:
                raise
            task.uncancel()
            raise TimeoutError from None
        finally:
            del self._until[task]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up what is late; as long as anything is read, look again."""
        now = loop.time()
        for task, until in self._until.items():
            if 0 < until < now:
                self._until[task] = 0
                task.cancel()
        self._looking = bool(self._until)
        if self._looking:
            loop.call_later(LOOK_EVERY_S, self._look, loop)
