"""One HTTP request and its answer, as an ASGI application sees them. LINE A step 1.

The head of an answer waits for the first bytes of its body, so that a short answer is one write.
"""

import asyncio
import http
import logging
import os
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from starlette.types import ASGIApp, Message, Scope

from service.http_grammar import HTTP_1_1, Head, Refusal
from service.protocols.rest_errors import error_response

HIGH_WATER_BYTES = 65536  # of a body that nobody takes: the client has to wait
PHRASES = {each.value: each.phrase for each in http.HTTPStatus}
STATUS_LINES = {status: f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode() for status in range(100, 600)}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE, CHUNKED, LAST_CHUNK = b"connection: close\r\n", b"transfer-encoding: chunked\r\n", b"0\r\n\r\n"
WITHOUT_BODY = (204, 304)
T = TypeVar("T")
logger = logging.getLogger(__name__)


class Wire(Protocol):
    """The connection below: what an exchange needs of it.

    Attributes:
        standard_headers: lines of every answer.
        keeps_alive: whether another request is welcome after this one.
        write_paused: the client takes its answer too slowly for more to be written now.
    """

    write_paused: bool

    @property
    def standard_headers(self) -> bytes: ...

    @property
    def keeps_alive(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    async def writable(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def fail(self) -> None:
        """There is no whole answer: tell the client so, or cut it off in the middle of one."""

    def on_response_complete(self) -> None: ...


class Exchange:
    """Made by the connection when a head is complete.

    Attributes:
        disconnected: the client is gone; nobody reads an answer.
        more_body: some of the request's body has not come yet.
    """

    def __init__(self, wire: Wire, head: Head, loop: asyncio.AbstractEventLoop) -> None:
        self.disconnected = self.response_started = self.response_complete = False
        self.keep_alive = head.keep_alive
        self.more_body = head.length != 0
        self._wire = wire
        self._head = head
        self._loop = loop
        self._waits_for_continue = head.expects_continue
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        if not self.more_body:
            self._news.set()
        self._unsent = b""  # the head of the answer
        self._chunked = False
        self._left: int | None = None  # of the answer's Content-Length
        self._work: asyncio.Task[Any] | None = None

    async def run(self, application: ASGIApp, scope: Scope) -> None:
        """Have the request answered."""
        try:
            await application(scope, self.receive, self.send)
        except Exception:
            logger.exception("The application failed outside of its own handlers")
        finally:
            if not self.response_complete and not self.disconnected:
                self._wire.fail()

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do `work`, but cancel it and return None once the client is gone: nobody needs its answer any more."""
        task = asyncio.current_task(self._loop)
        if self.disconnected or task is None:
            work.close()
            return None
        self._work = task
        try:
            return await work
        except asyncio.CancelledError:
            if not self.disconnected:
                raise
            task.uncancel()
            return None
        finally:
            self._work = None

    @property
    def has_news(self) -> bool:
        """Whether `receive` has something to tell at once."""
        return self._news.is_set()

    def feed(self, piece: bytes, *, last: bool) -> None:
        """Take a part of the request's body from the connection."""
        if self.response_complete:
            return
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        self.more_body = not last
        if self._waiting_bytes > HIGH_WATER_BYTES:
            self._wire.pause_reading()
        self._news.set()

    def disconnect(self) -> None:
        """The client is gone, or is not listened to any longer."""
        self.disconnected = True
        self._news.set()
        if self._work is not None:
            self._work.cancel()

    async def receive(self) -> Message:
        """ASGI: the next part of the body, then the client's leaving."""
        if self._waits_for_continue and not self.response_started:
            self._wire.write(CONTINUE)
        self._waits_for_continue = False
        if not self.disconnected and not self.response_complete:
            self._wire.resume_reading()
            await self._news.wait()
            self._news.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = b"".join(self._pieces)  # a single one is not copied
        self._pieces.clear()
        self._waiting_bytes = 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """ASGI: the next part of the answer."""
        if self._wire.write_paused:
            await self._wire.writable()
        if self.disconnected or self.response_complete:
            return
        if message["type"] == "http.response.start":
            self._start(message["status"], message["headers"])
        else:
            self._continue(message.get("body", b""), last=not message.get("more_body", False))

    def _start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        if not lines.count(b"\n") == lines.count(b"\r") == len(headers):
            self._give_up("A header of an answer has a line break in it.")
            return
        names = dict(headers)
        length = names.get(b"content-length")
        without_body = self._head.method == "HEAD" or status in WITHOUT_BODY
        self._left = 0 if without_body else None if length is None else int(length)
        self._chunked = self._left is None and self._head.version == HTTP_1_1
        closing = names.get(b"connection") == b"close"
        self.keep_alive = self.keep_alive and self._wire.keeps_alive and not closing
        more = b"" if self.keep_alive or closing else CLOSE
        if self._chunked:
            more += CHUNKED
        self._unsent = b"".join((STATUS_LINES[status], self._wire.standard_headers, lines, more, b"\r\n"))
        if self._left is None:  # a stream, which may be silent for long
            self._write(b"")

    def _continue(self, body: bytes, *, last: bool) -> None:
        if self._head.method == "HEAD":
            body = b""
        if self._left is not None:
            self._left -= len(body)
        elif self._chunked and body:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        self._write(body + LAST_CHUNK if last and self._chunked else body)
        if last and self._left:  # the client could not tell this answer from the next one
            self._give_up("An answer is not as long as its Content-Length.")
        elif last:
            self.response_complete = True
            self._news.set()
            self._wire.on_response_complete()

    def _write(self, data: bytes) -> None:
        """Write it behind what waits to be written."""
        if self._unsent:
            data, self._unsent = self._unsent + data, b""
        if data:
            self._wire.write(data)

    def _give_up(self, why: str) -> None:
        logger.error("%s It is cut off.", why)
        self._wire.fail()
        self.disconnected = True


def refusing(refusal: Refusal) -> bytes:
    """The whole answer to what never became an exchange."""
    request_id = os.urandom(16).hex()
    scope = {"path": "", "state": {"request_id": request_id}}
    headers = {"Connection": "close", "X-Request-Id": request_id}
    answer = error_response(scope, refusal.status, refusal.code, refusal.message, headers)
    lines = b"".join(b"%b: %b\r\n" % pair for pair in answer.raw_headers)
    return b"%b%b\r\n%b" % (STATUS_LINES[refusal.status], lines, bytes(answer.body))
