"""The parent's socket to one engine process: frames out, frames in. LINE A step 5."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from service.engine_wire import HEADER, Message, encode_frame

ROOM = 2**16  # bytes at first: some hundred answers


class EngineConnection(asyncio.BufferedProtocol):
    """Calls `on_frame` with each whole frame, and `on_close` once, when the process has hung up or we have."""

    def __init__(self) -> None:
        self._room = memoryview(bytearray(ROOM))  # its own: asyncio's would be mapped and unmapped for each answer
        self._filled = 0
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

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, before anything else."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def get_buffer(self, _: int) -> memoryview:
        """Where the next bytes go; twice the room where a frame has filled it."""
        if self._filled == len(self._room):
            self._room = memoryview(bytearray(self._room) + bytes(self._filled))
        return self._room[self._filled :]

    def buffer_updated(self, count: int) -> None:
        """Cut what came into frames; answers are small, so many may come at once and one rarely in pieces."""
        self._filled += count
        at, size = 0, HEADER.size
        while self._filled - at >= size:
            (length,) = HEADER.unpack_from(self._room, at)
            end = at + size + length
            if self._filled < end:
                break
            frame = bytes(self._room[at + size : end])
            at = end
            self.on_frame(frame)
        if at:
            self._room[: self._filled - at] = bytes(self._room[at : self._filled])
            self._filled -= at

    def connection_lost(self, _: Exception | None) -> None:
        """Called once, at the end."""
        self._transport = None
        self.on_close()
