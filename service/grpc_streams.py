"""Around every streaming gRPC call: bounded in number, messages and silence. LINE A step 1, LINE B steps 1-2.

The library bounds none of it. Everything else is as around unary calls: `GrpcAccess.run`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import grpc

from contract.errors import DeadlineExceeded, Overloaded
from service.grpc_access import Call, GrpcAccess, Message, coders, valid

MAX_STREAMS = 64  # each keeps one of the server's places for as long as it likes
MAX_MESSAGES = 10_000  # of one stream; whoever has more opens the next one, whose key is looked at again

Messages = AsyncIterator[Message]
Say = Callable[[Message], Awaitable[None]]
Gatherer = Callable[[Messages, Call], Awaitable[Message]]
Teller = Callable[[Message, Call, Say], Awaitable[None]]
Converser = Callable[[Messages, Call, Say], Awaitable[None]]


class GrpcStreams:
    """Makes streaming method handlers out of plain async functions.

    Args:
        silence_s: how long a client may say nothing, or not take what it is told, before its stream ends.
    """

    def __init__(self, access: GrpcAccess, silence_s: float) -> None:
        self._access = access
        self._silence_s = silence_s
        self._streams = 0

    def gather(self, name: str, request: Message, response: Message, handler: Gatherer) -> grpc.RpcMethodHandler:
        """A method that hears a stream and gives one answer at its end."""

        async def answer(messages: Messages, context: grpc.aio.ServicerContext) -> Message:
            async def work(call: Call) -> Message:
                with self._place():
                    return await handler(self._heard(messages), call)

            return await self._access.run(name, context, work)

        return grpc.stream_unary_rpc_method_handler(answer, *coders(request, response))

    def tell(self, name: str, request: Message, response: Message, handler: Teller) -> grpc.RpcMethodHandler:
        """A method that answers one request with a stream."""

        async def answer(message: Message, context: grpc.aio.ServicerContext) -> None:
            async def work(call: Call) -> None:
                with self._place():
                    await handler(valid(message), call, self._say(context))

            await self._access.run(name, context, work)

        return grpc.unary_stream_rpc_method_handler(answer, *coders(request, response))

    def converse(self, name: str, request: Message, response: Message, handler: Converser) -> grpc.RpcMethodHandler:
        """A method that answers a stream with a stream."""

        async def answer(messages: Messages, context: grpc.aio.ServicerContext) -> None:
            async def work(call: Call) -> None:
                with self._place():
                    await handler(self._heard(messages), call, self._say(context))

            await self._access.run(name, context, work)

        return grpc.stream_stream_rpc_method_handler(answer, *coders(request, response))

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._streams >= MAX_STREAMS:
            raise Overloaded(f"{MAX_STREAMS} streams are open already; come back when one has ended.")
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _heard(self, messages: Messages) -> Messages:
        """Each message as it comes.

        Raises:
            InvalidRequest: one is not protobuf.
            DeadlineExceeded: nothing came for too long.
            Overloaded: there are too many.
        """
        count = 0
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise DeadlineExceeded(f"The stream said nothing for {self._silence_s:g} s; open another.") from error
            count += 1
            if count > MAX_MESSAGES:
                raise Overloaded(f"The stream has more than {MAX_MESSAGES} messages; open another for the rest.")
            yield valid(message)

    def _say(self, context: grpc.aio.ServicerContext) -> Say:
        async def say(answer: Message) -> None:
            try:
                async with asyncio.timeout(self._silence_s):
                    await context.write(answer)
            except TimeoutError as error:
                raise DeadlineExceeded(f"No answer was taken for {self._silence_s:g} s; read while sending.") from error

        return say
