"""The load generator over HTTP/1.1: whole requests out of memory, answers with a length. Neither line.

httpx takes 1 ms per request; this a twentieth of it, and reads no more of HTTP than a plain answer of a server.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from ripen.bench_plan import ANSWER_S, Answer
from ripen.credentials import CA_VARIABLE, Trust, trusted
from ripen.errors import ServiceUnreachable

Read = Callable[[int, bytes], Answer]  # status and body -> what it says
HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"
CLOSE, OLD = b"\r\nconnection: close", b"http/1.0"
OK = 200
PORTS = {"http": 80, "https": 443}


class _Version(msgspec.Struct):
    version: int


class _Predicted(msgspec.Struct):
    probability: float


class _Predictions(msgspec.Struct):
    model: _Version
    predictions: tuple[_Predicted]


class _Error(msgspec.Struct):
    code: str
    message: str


class _Refused(msgspec.Struct):
    error: _Error


_predictions = msgspec.json.Decoder(_Predictions)
_refused = msgspec.json.Decoder(_Refused)


def read_prediction(status: int, body: bytes) -> Answer:
    """What an answer of our REST's `predict` to one image says."""
    try:
        if status == OK:
            told = _predictions.decode(body)
            return Answer(told.model.version, told.predictions[0].probability)
        error = _refused.decode(body).error
    except msgspec.DecodeError:
        return Answer(code=f"{status} unreadable", message="The answer is not Ripen's.")
    return Answer(code=f"{status} {error.code}", message=error.message)


class HttpTarget:
    """A POST of each image to one path.

    Args:
        url: of the server, with the path and query to ask.
        read: takes status and body apart; `read_prediction` unless it is another server.
        content_type: of the body.
        headers: more of them, such as a key.
        body: makes a request's body out of an image.
        trust: as the client's.

    Raises:
        ServiceUnreachable: that is no URL.
        InvalidCredentials: the authorities cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        read: Read = read_prediction,
        content_type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
        body: Callable[[bytes], bytes] = bytes,
        trust: Trust = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ServiceUnreachable(f"{url!r} is not a URL of HTTP; expected one like http://127.0.0.1:8501.")
        self.server = f"{parts.scheme}://{parts.netloc}"
        self.host, self.port = parts.hostname, parts.port or PORTS[parts.scheme]
        self.read = read
        self.tls = _context(trust) if parts.scheme == "https" else None
        self._body = body
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = {"Host": parts.netloc, "Content-Type": content_type, "Accept": "application/json", **(headers or {})}
        self._head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in lines.items())

    def encode(self, image: bytes) -> bytes:
        """A whole request."""
        body = self._body(image)
        return f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body

    def sender(self) -> "HttpSender":
        """One more connection."""
        return HttpSender(self)

    async def close(self) -> None:
        """Nothing is shared."""


class HttpSender:
    """One connection, made anew where it was closed."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target
        self._connection: _Connection | None = None

    async def open(self) -> None:
        """Connect, unless it is connected."""
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()

    async def send(self, message: bytes) -> Answer:
        """One request and its answer."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await self._connect()
            status, body = await self._connection.exchange(message)
        except ServiceUnreachable as error:
            return Answer(code="unreachable", message=str(error))
        except ConnectionError as error:
            return Answer(code="connection_lost", message=str(error))
        except TimeoutError:
            return Answer(code="unanswered", message=f"No answer came within {ANSWER_S:g} s.")
        return self._target.read(status, body)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    async def _connect(self) -> "_Connection":
        target, loop = self._target, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_S):
                _, made = await loop.create_connection(_Connection, target.host, target.port, ssl=target.tls)
        except ssl.SSLCertVerificationError as error:
            raise ServiceUnreachable(
                f"The certificate at {target.server} is not trusted ({error.verify_message}); set {CA_VARIABLE} to "
                "its authority's, and ask by a name that it bears."
            ) from error
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise ServiceUnreachable(f"No service answers at {target.server} ({reason}).") from error
        return made


class _Connection(asyncio.Protocol):
    """One exchange after the other over one socket."""

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self) -> None:
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def exchange(self, message: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        """Send a request; its status and body are the future's."""
        self._answer = answer = self._loop.create_future()
        self._timer = self._loop.call_later(ANSWER_S, self._fail, TimeoutError())
        self._transport.write(message)
        return answer

    def close(self) -> None:
        """End the connection after what was sent."""
        self.closed = True
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        read = self._read = self._read + data if self._read else data
        end = read.find(HEAD_END)
        if end < 0:
            return
        head = read[:end].lower()
        start = head.find(LENGTH) + len(LENGTH)
        try:
            status, body_end = int(head[9:12]), end + len(HEAD_END) + int(head[start:].split(b"\r", 1)[0])
        except ValueError:
            self._fail(ConnectionError("the answer has no status, or no Content-Length"))
            return
        if len(read) >= body_end:
            self._read = b""
            self._finish(status, read[end + len(HEAD_END) : body_end], ends=CLOSE in head or head.startswith(OLD))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was under way."""
        self._fail(ConnectionError(f"the connection ended before the answer{f' ({exc})' if exc else ''}"))

    def _finish(self, status: int, body: bytes, *, ends: bool) -> None:
        if ends:
            self.close()
        if self._answer is not None and not self._answer.done():
            self._timer.cancel()
            self._answer.set_result((status, body))

    def _fail(self, error: Exception) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._timer.cancel()
            self._answer.set_exception(error)
        self._transport.abort()


def _context(trust: Trust) -> ssl.SSLContext:
    found = trusted(trust)
    return found if isinstance(found, ssl.SSLContext) else ssl.create_default_context()
