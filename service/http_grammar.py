"""HTTP/1.1 read as strictly as a server without a proxy must: h11, and refusals of what h11 lets pass. LINE A step 1.

Two readings of one message are how requests are smuggled past a proxy, so whatever may be read in two ways is refused.
Source: RFC 9112 sections 2.2, 5.2 and 6.3.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import h11

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100
MAX_TARGET_BYTES = 8 * 1024
MAX_EXTRA_BYTES = 4 * 1024  # of one chunk's size and extensions, or of the trailers
MANY_CHUNKS, SMALL_CHUNK_BYTES = 10_000, 1024
ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Refusal:
    """An answer that ends the connection."""

    status: int
    code: str
    message: str


TARGET_TOO_LONG = Refusal(414, "uri_too_long", f"The URI is too long; expected at most {MAX_TARGET_BYTES} bytes.")
HEAD_TOO_LARGE = Refusal(
    431,
    "headers_too_large",
    f"The headers are too large; expected at most {MAX_HEADERS} with {MAX_HEAD_BYTES} bytes together.",
)
NOT_HTTP = Refusal(
    400, "invalid_http", "This is not a request of HTTP/1.1 or HTTP/1.0 that can be read in one way only."
)
BAD_BODY = Refusal(400, "invalid_http", "The body does not keep to its Content-Length or its chunks.")
BAD_PATH = Refusal(400, "invalid_path", "The path has an escape that is not `%` and two digits of UTF-8 text.")


class StrictConnection(h11.Connection):
    """The server's end of one connection. `refusal` says why `next_event` raised."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.refusal = NOT_HTTP
        self._chunks = 0
        self._body_bytes = 0

    @property
    def has_unread_bytes(self) -> bool:
        """Whether something came that is no whole event yet."""
        return bool(self._receive_buffer)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As h11's, but stricter.

        Raises:
            h11.RemoteProtocolError: the connection cannot go on; `refusal` is the answer.
        """
        size = len(self._receive_buffer)
        idle = self.their_state is h11.IDLE
        # The first bytes only: behind the head lies the body, and h11 keeps neither lines nor spaces of the head.
        head = bytes(self._receive_buffer._data[: MAX_HEAD_BYTES + 1]) if idle else b""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.refusal = _unreadable(head, error.error_status_hint) if idle else BAD_BODY
            raise
        refusal = self._refuse(event, head, size - len(self._receive_buffer))
        if refusal is not None:
            self.refusal = refusal
            raise h11.RemoteProtocolError(refusal.message)
        return event

    def _refuse(self, event: object, head: bytes, taken: int) -> Refusal | None:
        """Why an event, for which `taken` bytes were read, cannot be used; None if it can."""
        if isinstance(event, h11.Request):
            self._chunks = self._body_bytes = 0
            return refuse_head(event, head[:taken])
        if isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._body_bytes += len(event.data)
            few = MANY_CHUNKS + self._body_bytes / SMALL_CHUNK_BYTES
            return BAD_BODY if taken - len(event.data) > MAX_EXTRA_BYTES or self._chunks > few else None
        return BAD_BODY if isinstance(event, h11.EndOfMessage) and taken > MAX_EXTRA_BYTES else None


def refuse_head(request: h11.Request, head: bytes) -> Refusal | None:
    """Why a request's head cannot be used; None if it can.

    Args:
        request: as h11 reads it.
        head: the bytes that it was read from, up to and with the empty line, or MAX_HEAD_BYTES + 1 of them.
    """
    if len(request.target) > MAX_TARGET_BYTES:
        return TARGET_TOO_LONG
    if len(head) > MAX_HEAD_BYTES or len(request.headers) > MAX_HEADERS:
        return HEAD_TOO_LARGE
    names = {name for name, _ in request.headers}
    chunked = b"transfer-encoding" in names
    if (
        request.http_version not in (b"1.0", b"1.1")
        or (chunked and (b"content-length" in names or request.http_version == b"1.0"))
        or head.count(b"\n") != head.count(b"\r\n")
        or b"\n " in head
        or b"\n\t" in head
    ):
        return NOT_HTTP
    return BAD_PATH if b"%" in request.target and not _is_text(request.target.partition(b"?")[0]) else None


def _is_text(path: bytes) -> bool:
    """Whether the escapes of a path are well-formed and give text without control characters."""
    if ESCAPE.search(path):
        return False
    plain = unquote_to_bytes(path)
    try:
        plain.decode()
    except UnicodeDecodeError:
        return False
    return not CONTROL.search(plain)


def _unreadable(head: bytes, hint: int) -> Refusal:
    """What is wrong with a head that h11 could not read. `hint` is 431 where it grew too large before its end."""
    if hint != HEAD_TOO_LARGE.status:
        return NOT_HTTP
    return HEAD_TOO_LARGE if b"\n" in head[: MAX_TARGET_BYTES + 1] else TARGET_TOO_LONG
