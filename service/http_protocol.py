"""One REST connection with limits: bytes to exchanges and back. LINE A step 1.

Nothing is added per piece of data. Once a second `RestServer` calls `sweep`, which looks at what each connection waits
for and since when; a kernel's own counters say whether a client takes its answer.
"""

import asyncio
import math
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import cast
from urllib.parse import unquote

from starlette.types import ASGIApp, Scope

from service.answer_reader import AnswerReader, kernel_counters
from service.http_exchange import Exchange, refusing
from service.http_grammar import BAD_BODY, MAX_HEAD_BYTES, Chunks, Head, Refusal, read_head, refuse_unfinished
from service.status_map import INTERNAL_MESSAGE

HEAD_S = 10.0  # for a whole head, from its first byte or, where there was no request yet, from the connection's begin
KEEP_ALIVE_S = 75.0
LINGER_S = 2.0  # after a refusal: who closes at once takes the answer from a client that still sends
LEFTOVER_S = 5.0  # for the rest of a body that was answered already
STALLED_UPLOAD_S = 5.0  # while the service stops; before that the limits of `Access` hold
LEAVE_NOTHING = struct.pack("ii", 1, 0)  # SO_LINGER: forget what the client has not taken
TOO_SLOW = Refusal(408, "request_timeout", f"The head did not come in time; send all of it within {HEAD_S:g} s.")
STOPPING = Refusal(503, "draining", "The service is stopping; send the request again in a moment.")
FAILED = Refusal(500, "internal", INTERNAL_MESSAGE)
BUFFER_BYTES = 256 * 1024
ASGI = {"version": "3.0", "spec_version": "2.3"}


class RestState:
    """What all connections share.

    Attributes:
        application: answers the requests.
        most: open connections.
        draining: whether uploads that stand still are cut.
        keeps_alive: whether connections stay open after an answer.
        standard_headers: the lines that each answer begins with.
        empty: set when the last connection goes.
        buffer: what comes is put here for a moment; asyncio's own way takes new memory for each piece, 256 KiB at once.
    """

    def __init__(self, application: ASGIApp, most: int, count_rejection: Callable[[str], None]) -> None:
        self.application = application
        self.most = most
        self.count_rejection = count_rejection
        self.connections: set[LimitedProtocol] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.standard_headers = b""
        self.draining = False
        self.keeps_alive = True
        self.empty = asyncio.Event()
        self.buffer = memoryview(bytearray(BUFFER_BYTES))

    def limited(self) -> "list[LimitedProtocol]":
        """All connections, also those that are closing."""
        return list(self.connections)

    def open_ones(self) -> "list[LimitedProtocol]":
        """Those that nobody has closed yet."""
        return [one for one in self.limited() if not one.transport.is_closing()]


class Phase(Enum):
    """What a connection waits for; the value is how long it may, in seconds."""

    IDLE = (KEEP_ALIVE_S, "the next request")
    HEAD = (HEAD_S, "the rest of a head")
    BODY = (STALLED_UPLOAD_S, "the rest of a body")
    ANSWER = (math.inf, "us")
    LEFTOVER = (LEFTOVER_S, "the rest of a body that was answered already")
    REFUSED = (LINGER_S, "the client, who should read why it was refused")

    @property
    def limit_s(self) -> float:
        return self.value[0]


class LimitedProtocol(asyncio.BufferedProtocol):
    """One connection. Its state is `_exchange`, the last request, and what is left of that one's body."""

    transport: asyncio.Transport
    _kernel: socket.socket
    _reader: AnswerReader

    def __init__(self, state: RestState) -> None:
        self.loop = asyncio.get_running_loop()
        self.write_paused = False
        self._state = state
        self._exchange: Exchange | None = None
        self._left = 0  # bytes of the body under way that are still to come
        self._chunks: Chunks | None = None  # the body under way, where it comes in chunks
        self._unread = b""  # the beginning of a head, or requests whose turn has not come
        self._reading_paused = self._refused = False
        self._writable = asyncio.Event()
        self._scope_of_all: Scope = {}
        self._now: tuple[object, ...] = (None, Phase.HEAD, 0)
        self._since = self._idle_since = self.loop.time()

    @property
    def standard_headers(self) -> bytes:
        return self._state.standard_headers

    @property
    def keeps_alive(self) -> bool:
        return self._state.keeps_alive

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio once, first."""
        self.transport = cast(asyncio.Transport, transport)
        self._kernel = transport.get_extra_info("socket")
        self._reader = AnswerReader(self._kernel)
        self._scope_of_all = {
            "type": "http",
            "asgi": ASGI,
            "server": _place(transport.get_extra_info("sockname")),
            "client": _place(transport.get_extra_info("peername")),
            "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
            "root_path": "",
        }
        self._state.connections.add(self)
        if len(self._state.connections) > self._state.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # however it came to that
        """Called by asyncio once, last."""
        self._state.connections.discard(self)
        if self._exchange is not None and not self._exchange.response_complete:
            self._exchange.disconnect()
        self.resume_writing()
        if not self._state.connections:
            self._state.empty.set()

    def pause_writing(self) -> None:
        self.write_paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self.write_paused = False
        self._writable.set()

    async def writable(self) -> None:
        await self._writable.wait()

    def pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused and not self.transport.is_closing():
            self._reading_paused = False
            self.transport.resume_reading()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's own guess
        return self._state.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._read(bytes(self._state.buffer[:nbytes]))

    def _read(self, data: bytes) -> None:
        if self._unread:
            data, self._unread = self._unread + data, b""
        while data and not self._refused:
            if self._left:
                data = self._read_length(data)
            elif self._chunks is not None:
                data = self._read_chunks(self._chunks, data)
            elif self._exchange is not None and not self._exchange.response_complete:
                self._unread = data  # its turn comes with the answer
                self.pause_reading()
                return
            else:
                data = self._read_head(data)

    def _read_head(self, data: bytes) -> bytes:
        """Begin an exchange if the head is whole; what lies behind it."""
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
        head = refuse_unfinished(data) if end < 4 else read_head(data[:end])
        if isinstance(head, Refusal):
            self.refuse(head)
        elif head is None:
            self._unread = data
        else:
            self._begin(head)
            return data[end:]
        return b""

    def _begin(self, head: Head) -> None:
        self._exchange = exchange = Exchange(self, head, self.loop)
        self._left = head.length or 0
        self._chunks = Chunks() if head.length is None else None
        raw_path, _, query = head.target.partition(b"?")
        path = raw_path.decode()
        scope: Scope = {
            **self._scope_of_all,
            "http_version": head.version,
            "method": head.method,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": head.headers,
            "state": {"exchange": exchange},
        }
        self._state.tasks.add(self.loop.create_task(self._answer(exchange, scope)))

    async def _answer(self, exchange: Exchange, scope: Scope) -> None:
        try:
            await exchange.run(self._state.application, scope)
        finally:
            self._state.tasks.discard(asyncio.current_task(self.loop))

    def _read_length(self, data: bytes) -> bytes:
        """Take a part of a body whose length is known; what lies behind the body."""
        assert self._exchange is not None
        piece = data if len(data) <= self._left else data[: self._left]
        self._left -= len(piece)
        self._exchange.feed(piece, last=not self._left)
        return data[len(piece) :]

    def _read_chunks(self, chunks: Chunks, data: bytes) -> bytes:
        """Take a part of a body in chunks; what lies behind the body."""
        assert self._exchange is not None
        taken = chunks.take(data)
        if isinstance(taken, Refusal):
            self.refuse(BAD_BODY)
            return b""
        piece, rest = taken
        if chunks.complete:
            self._chunks = None
        if piece or chunks.complete:
            self._exchange.feed(piece, last=chunks.complete)
        return rest

    def on_response_complete(self) -> None:
        """Go on with the next request, or close."""
        assert self._exchange is not None
        self._idle_since = self.loop.time()
        if not self._exchange.keep_alive:
            self.transport.close()
            return
        self.resume_reading()
        if self._unread:
            self._read(b"")

    def fail(self) -> None:
        if self._exchange is not None and self._exchange.response_started:
            self.abort()
        else:
            self.refuse(FAILED)

    def shutdown(self) -> None:
        """Close as soon as the answer under way, if there is one, is written."""
        if self._refused or self._exchange is None or self._exchange.response_complete:
            self.transport.close()
        else:
            self._exchange.keep_alive = False

    def cut(self) -> None:
        """End the connection now; a request without an answer gets one that says why."""
        if self._exchange is None or self._exchange.response_complete:
            self.abort()
        else:
            self.refuse(STOPPING)
            self.transport.close()

    def refuse(self, refusal: Refusal) -> None:
        """Answer and take nothing more; the connection ends when the client has read it, or after LINGER_S."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._state.count_rejection(refusal.code)
        if self._exchange is not None and not self._exchange.response_complete:
            self._exchange.disconnect()
            if self._exchange.response_started:
                self.abort()
                return
        self.transport.write(refusing(refusal))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()

    def abort(self) -> None:
        """End the connection without waiting for anybody."""
        if self._kernel.fileno() >= 0:
            self._kernel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LEAVE_NOTHING)
        self.transport.abort()

    def sweep(self, now: float) -> None:
        """Look whether the client is too slow; called once a second with the loop's time."""
        if self._reader.too_slow(now):
            self._state.count_rejection("slow_reader")
            self.abort()
            return
        phase = self._phase()
        present = (self._exchange, phase, kernel_counters(self._kernel)[1] if phase is Phase.BODY else 0)
        if present != self._now:
            self._now, self._since = present, now
        elif now - self._since > phase.limit_s:
            self._give_up(phase)

    def idle_since(self) -> float | None:
        """Since when no request is under way; None if one is."""
        return self._idle_since if self._phase() in (Phase.IDLE, Phase.HEAD) else None

    def _phase(self) -> Phase:
        if self._refused:
            return Phase.REFUSED
        if self._exchange is None:
            return Phase.HEAD
        if self._left or self._chunks is not None:
            return Phase.LEFTOVER if self._exchange.response_complete else Phase.BODY
        if not self._exchange.response_complete:
            return Phase.ANSWER
        return Phase.HEAD if self._unread else Phase.IDLE

    def _give_up(self, phase: Phase) -> None:
        if phase is Phase.HEAD and self._unread:
            self.refuse(TOO_SLOW)
        elif phase is Phase.IDLE:
            self.transport.close()
        elif phase is not Phase.BODY:
            self.abort()
        elif self._state.draining:
            self.refuse(STOPPING)

    def _make_room(self) -> None:
        """Close the connection that has been idle longest, which may be this one."""
        open_ones = self._state.open_ones()
        if len(open_ones) <= self._state.most:
            return
        idle = {one: since for one in open_ones if (since := one.idle_since()) is not None}
        self._state.count_rejection("too_many_connections")
        min(idle, key=lambda one: idle[one], default=self).abort()


def _place(address: object) -> tuple[str, int] | None:
    """Address and port of an IP socket's end."""
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
