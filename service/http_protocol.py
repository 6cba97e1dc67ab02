"""One REST connection with limits: uvicorn's h11 protocol, which has none of its own. LINE A step 1.

Nothing is added per piece of data. Once a second `RestServer` calls `sweep`, which looks at what each connection waits
for and since when; a kernel's own counters say whether a client takes its answer.
"""

import asyncio
import fcntl
import math
import socket
import struct
import termios
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol
from uvicorn.server import ServerState

from service.http_grammar import Refusal, StrictConnection
from service.protocols.rest_errors import error_response

HEAD_S = 10.0  # for a whole head, from its first byte or, where there was no request yet, from the connection's begin
KEEP_ALIVE_S = 75
LINGER_S = 2.0  # after a refusal: who closes at once takes the answer from a client that still sends
LEFTOVER_S = 5.0  # for the rest of a body that was answered already
STALLED_UPLOAD_S = 5.0  # while the service stops; before that the limits of `Access` hold
READER_S, READER_BYTES_PER_S = 10.0, 1024  # how long an answer may not move at all, and how fast it must after that
LEAVE_NOTHING = struct.pack("ii", 1, 0)  # SO_LINGER: forget what the client has not taken
TOO_SLOW = Refusal(408, "request_timeout", f"The head did not come in time; send all of it within {HEAD_S:g} s.")
STOPPING = Refusal(503, "draining", "The service is stopping; send the request again in a moment.")


class RestState(ServerState):
    """What all connections share.

    Attributes:
        most: open connections.
        draining: whether uploads that stand still are cut.
        empty: set when the last connection goes.
    """

    def __init__(self, most: int, count_rejection: Callable[[str], None]) -> None:
        super().__init__()
        self.most = most
        self.count_rejection = count_rejection
        self.draining = False
        self.empty = asyncio.Event()

    def limited(self) -> "list[LimitedProtocol]":
        """All connections, also those that are closing; ours are the only ones."""
        return [one for one in list(self.connections) if isinstance(one, LimitedProtocol)]

    def open_ones(self) -> "list[LimitedProtocol]":
        """Those that nobody has closed yet."""
        return [one for one in self.limited() if not one.transport.is_closing()]


class Phase(Enum):
    """What a connection waits for; the value is how long it may, in seconds."""

    IDLE = (math.inf, "the next request: uvicorn's own timer")
    HEAD = (HEAD_S, "the rest of a head")
    BODY = (STALLED_UPLOAD_S, "the rest of a body")
    ANSWER = (math.inf, "us")
    LEFTOVER = (LEFTOVER_S, "the rest of a body that was answered already")
    REFUSED = (LINGER_S, "the client, who should read why it was refused")

    @property
    def limit_s(self) -> float:
        return self.value[0]


@dataclass(frozen=True)
class _Reading:
    """A moment when bytes waited for the client, and how many it had taken by then."""

    since: float
    taken: int
    waiting: int


class LimitedProtocol(H11Protocol):
    """One connection."""

    _kernel: socket.socket

    def __init__(
        self,
        config: Config,
        server_state: RestState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn: StrictConnection = StrictConnection()
        self._state = server_state
        self._refused = False
        self._now: tuple[object, ...] = (None, Phase.HEAD, 0)
        self._since = self._idle_since = self.loop.time()
        self._reading: _Reading | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._kernel = transport.get_extra_info("socket")
        if len(self.connections) > self._state.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.connections:
            self._state.empty.set()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text; ours says more
        """uvicorn calls this where the connection's bytes cannot be read."""
        self.refuse(self.conn.refusal)

    def shutdown(self) -> None:
        """Close as soon as the answer under way, if there is one, is written."""
        if self._refused:
            self.transport.close()
        else:
            super().shutdown()

    def cut(self) -> None:
        """End the connection now; a request without an answer gets one that says why."""
        if self.cycle is None or self.cycle.response_complete:
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
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.abort()
                return
        self.transport.write(_answer(refusal))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def abort(self) -> None:
        """End the connection without waiting for anybody."""
        if self._kernel.fileno() >= 0:
            self._kernel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LEAVE_NOTHING)
        self.transport.abort()

    def sweep(self, now: float) -> None:
        """Look whether the client is too slow; called once a second with the loop's time."""
        if self._reads_too_slowly(now):
            self._state.count_rejection("slow_reader")
            self.abort()
            return
        phase = self._phase()
        present = (self.cycle, phase, _kernel_counters(self._kernel)[1] if phase is Phase.BODY else 0)
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
        if self.conn.their_state is h11.IDLE:
            return Phase.HEAD if self.cycle is None or self.conn.has_unread_bytes else Phase.IDLE
        if self.conn.their_state is not h11.SEND_BODY:
            return Phase.ANSWER
        return Phase.LEFTOVER if self.cycle.response_complete else Phase.BODY

    def _give_up(self, phase: Phase) -> None:
        if phase is Phase.HEAD and self.conn.has_unread_bytes:
            self.refuse(TOO_SLOW)
        elif phase is not Phase.BODY:
            self.abort()
        elif self._state.draining:
            self.refuse(STOPPING)

    def _reads_too_slowly(self, now: float) -> bool:
        """Whether what waited for the client at some moment still does, though there was time to take it."""
        waiting = _bytes_on_their_way(self._kernel)
        if not waiting:
            self._reading = None
            return False
        taken, _ = _kernel_counters(self._kernel)
        if self._reading is None or taken >= self._reading.taken + self._reading.waiting:
            self._reading = _Reading(now, taken, waiting)
        wanted = READER_BYTES_PER_S * (now - self._reading.since - READER_S)
        return taken - self._reading.taken < wanted

    def _make_room(self) -> None:
        """Close the connection that has been idle longest, which may be this one."""
        open_ones = self._state.open_ones()
        if len(open_ones) <= self._state.most:
            return
        idle = {one: since for one in open_ones if (since := one.idle_since()) is not None}
        self._state.count_rejection("too_many_connections")
        min(idle, key=lambda one: idle[one], default=self).abort()


def _answer(refusal: Refusal) -> bytes:
    """The whole HTTP answer; h11 would not write one in a state of error."""
    request_id = uuid.uuid4().hex
    scope = {"path": "", "state": {"request_id": request_id}}
    headers = {"Connection": "close", "X-Request-Id": request_id}
    answer = error_response(scope, refusal.status, refusal.code, refusal.message, headers)
    lines = b"".join(b"%s: %s\r\n" % pair for pair in answer.raw_headers)
    phrase = STATUS_PHRASES[refusal.status]
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (refusal.status, phrase, lines, answer.body)


def _bytes_on_their_way(kernel: socket.socket) -> int:
    """What was sent and the client has not taken (SIOCOUTQ of tcp(7))."""
    if kernel.fileno() < 0:
        return 0
    waiting: int = struct.unpack("i", fcntl.ioctl(kernel.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return waiting


def _kernel_counters(kernel: socket.socket) -> tuple[int, int]:
    """How many bytes the client has taken and sent since it connected.

    Source: struct tcp_info of linux/tcp.h: tcpi_bytes_acked at 120, tcpi_bytes_received at 128.
    """
    if kernel.fileno() < 0:
        return 0, 0
    taken, came = struct.unpack_from("QQ", kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136), 120)
    return taken, came
