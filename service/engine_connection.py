"""The parent's socket to one engine process: frames out, frames in. LINE A step 5."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from service.engine_wire import HEADER, Message, encode_frame


class EngineConnection(asyncio.Protocol):
    """Calls `on_frame` with each whole frame, and `on_close` once, when the process has hung up or we have."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self.on_frame: Callable[[bytes], None] = lambda _: None
        self.on_close: Callable[[], None] = lambda: None

    @classmethod
    async def open(cls, end: socket.socket) -> "EngineConnection":
        """Take over one end of a socket pair."""
        _, connection = await asyncio.get_running_loop().create_unix_connection(cls, sock=end)
        return connection

    def send(self, message: Message) -> None:
        """Send one message; of a connection that has closed meanwhile, nothing arrives."""
        if self._transport is not None:
            self._transport.writelines(encode_frame(message))

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, before anything else."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Cut what came into frames; answers are small, so many may come at once and one rarely in pieces."""
        self._received += data
        at, size = 0, HEADER.size
        while len(self._received) - at >= size:
            (length,) = HEADER.unpack_from(self._received, at)
            end = at + size + length
            if len(self._received) < end:
                break
            frame = bytes(self._received[at + size : end])
            at = end
            self.on_frame(frame)
        del self._received[:at]

    def connection_lost(self, _: Exception | None) -> None:
        """Called once, at the end."""
        self._transport = None
        self.on_close()
