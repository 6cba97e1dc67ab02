"""The gate of the gRPC port: a call whose key is not good ends before its first message is read. LINE A step 1."""

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import grpc

from contract.errors import RipenError, Unauthenticated
from service.callers import Callers
from service.grpc_access import Call, GrpcAccess, Message, authorization_of

REFUSED = "refused"  # the method's name in the metrics: what was asked for may be anything
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]]


class GrpcGate(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Called by grpc.aio once per call, before anything but the metadata has been read."""

    def __init__(self, callers: Callers, access: GrpcAccess) -> None:
        self._callers = callers
        self._access = access

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """The handler of the call, or one that refuses it; also a method that does not exist is refused first."""
        try:
            self._callers.of_call(details.method, authorization_of(details.invocation_metadata))
        except RipenError:
            return self._refusing(details.method)
        return await continuation(details)

    def _refusing(self, method: str) -> grpc.RpcMethodHandler:
        async def refuse(_: Message, context: grpc.aio.ServicerContext) -> None:
            """Called by grpc.aio once per refused call."""

            async def work(_: Call) -> None:
                authorization = authorization_of(context.invocation_metadata())
                self._callers.of_call(method, authorization, _address(context.peer()))
                raise Unauthenticated("The API key has become known just now; send the call again.")

            await self._access.finish(REFUSED, context, work)

        return grpc.stream_stream_rpc_method_handler(refuse)  # of all kinds the one that reads nothing by itself


def _address(peer: str) -> str:
    """`ipv4:127.0.0.1:50000` or `ipv6:%5B::1%5D:50000` as REST names it."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")
