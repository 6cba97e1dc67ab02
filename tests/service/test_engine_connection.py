"""Frames out of bytes, however they arrive."""

import asyncio
import os
import socket

import pytest

from service.engine_connection import ROOM, EngineConnection
from service.engine_wire import HEADER


@pytest.mark.parametrize("piece", [7, 1000, 10_000_000])
def test_frames_come_whole_and_in_order_however_large_they_are(piece: int) -> None:
    frames = [os.urandom(size) for size in (1, 0, 40, 3 * ROOM + 5, 2, ROOM - HEADER.size, 500)]
    if piece == 7:
        frames = frames[:3]  # the large ones would take long
    stream = b"".join(HEADER.pack(len(frame)) + frame for frame in frames)

    async def receive() -> list[bytes]:
        ours, theirs = socket.socketpair()
        connection = await EngineConnection.open(ours)
        came: list[bytes] = []
        connection.on_frame = came.append
        closed = asyncio.get_running_loop().create_future()
        connection.on_close = lambda: closed.set_result(None)
        _, writer = await asyncio.open_connection(sock=theirs)
        for start in range(0, len(stream), piece):
            writer.write(stream[start : start + piece])
            await writer.drain()
        writer.close()
        await asyncio.wait_for(closed, 20)
        return came

    assert asyncio.run(receive()) == frames
