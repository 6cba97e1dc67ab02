"""The load generator over gRPC: unary calls of bytes that were encoded before. Neither line: a caller of LINE A.

grpcio comes with the service; without it this file can be imported, and says what is missing when it is used.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ripen.bench_plan import ANSWER_S, Answer
from ripen.errors import CannotMeasure, InvalidCredentials, ServiceUnreachable

CALLS_PER_CHANNEL = 16  # a channel is a connection
CONNECT_S = 10.0
CONNECTED_OR_NOT = ("READY", "TRANSIENT_FAILURE", "SHUTDOWN")
CLASSIFY = "/ripen.v1.Classifier/Classify"


class Method(NamedTuple):
    """A unary method: its full name, an image to a message, and an answer to what it says."""

    path: str
    encode: Callable[[bytes], bytes]
    read: Callable[[bytes], Answer]


class GrpcTarget:
    """A unary call for each image.

    Args:
        address: HOST:PORT.
        method: whom to call.
        metadata: with each call, such as a key; names in lower case.
        tls: whether to speak it.
        trust: PEM file of the authorities; None are those that gRPC trusts.

    Raises:
        CannotMeasure: grpcio is not installed.
        InvalidCredentials: the authorities cannot be read.
    """

    def __init__(
        self,
        address: str,
        method: Method,
        *,
        metadata: Mapping[str, str] | None = None,
        tls: bool = False,
        trust: str | Path | None = None,
    ) -> None:
        self.address = address
        self.method = method
        self.metadata = tuple((metadata or {}).items())
        self._aio = _grpc().aio
        self._credentials = _credentials(trust) if tls else None
        self._channels: list[Any] = []
        self._senders = 0

    def encode(self, image: bytes) -> bytes:
        """A whole message."""
        return self.method.encode(image)

    def sender(self) -> "GrpcSender":
        """One more caller; a few of them share a channel."""
        number = self._senders // CALLS_PER_CHANNEL
        if number == len(self._channels):
            own = (("grpc.use_local_subchannel_pool", 1),)  # else all channels share one connection
            secure = self._credentials is not None
            self._channels.append(
                self._aio.secure_channel(self.address, self._credentials, own)
                if secure
                else self._aio.insecure_channel(self.address, own)
            )
        self._senders += 1
        return GrpcSender(self, self._channels[number], self._aio.AioRpcError)

    async def close(self) -> None:
        """Close the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels))
        self._channels, self._senders = [], 0


class GrpcSender:
    """One caller."""

    def __init__(self, target: GrpcTarget, channel: Any, call_failed: type[Exception]) -> None:
        self._target = target
        self._channel = channel
        self._call_failed = call_failed
        self._method = channel.unary_unary(target.method.path)

    async def open(self) -> None:
        """Wait until the channel is connected."""
        try:
            connected = await asyncio.wait_for(self._connect(), CONNECT_S)
        except TimeoutError:
            connected = False
        if not connected:
            raise ServiceUnreachable(f"No gRPC service answers at {self._target.address}; start one with `ripen up`.")

    async def send(self, message: bytes) -> Answer:
        """One call and its answer."""
        target = self._target
        try:
            body = await self._method(message, timeout=ANSWER_S, metadata=target.metadata)
        except self._call_failed as error:
            return _failure(error)
        return target.method.read(body)

    async def close(self) -> None:
        """The channel is the target's."""

    async def _connect(self) -> bool:
        """Whether it worked out at the first attempt; gRPC would go on trying."""
        state = self._channel.get_state(try_to_connect=True)
        while state.name not in CONNECTED_OR_NOT:
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state()
        return bool(state.name == "READY")


def classify(model: str, version: int | None = None) -> Method:
    """`Classify` of `ripen.v1`.

    Raises:
        CannotMeasure: protobuf is not installed.
    """
    _grpc()
    from protos import ripen_v1_pb2 as messages  # noqa: PLC0415  # as grpcio: part of the service's installation

    def encode(image: bytes) -> bytes:
        asked = messages.ClassifyRequest(model=model, version=version or 0, images=[messages.Image(data=image)])
        return bytes(asked.SerializeToString())

    def read(body: bytes) -> Answer:
        told = messages.ClassifyResponse.FromString(body)
        return Answer(told.model.version, told.predictions[0].probability)

    return Method(CLASSIFY, encode, read)


def _failure(error: Any) -> Answer:
    """The status, and our own name for the reason where the server told it."""
    names = [value for name, value in error.trailing_metadata() or () if name == "ripen-error-code"]
    return Answer(code=" ".join([error.code().name, *names]), message=error.details() or "")


def _credentials(trust: str | Path | None) -> Any:
    try:
        return _grpc().ssl_channel_credentials(Path(trust).read_bytes() if trust else None)
    except OSError as error:
        raise InvalidCredentials(f"The CA file {trust} cannot be read ({error.strerror}).") from error


def _grpc() -> ModuleType:
    try:
        import grpc.aio  # noqa: PLC0415  # not part of the base installation, and slow to import
    except ImportError as error:
        raise CannotMeasure('gRPC needs more packages; install them with: pip install "ripen[service]"') from error
    return grpc  # type: ignore[no-any-return]  # grpcio ships no types
