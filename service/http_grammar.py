"""HTTP/1.1 requests read as strictly as a server without a proxy must. LINE A step 1.

Two readings of one message are how requests are smuggled past a proxy, so whatever may be read in two ways is refused:
what these patterns do not match does not exist. A test compares every reading with h11's, which costs 140 us a request.
Source: RFC 9112 sections 2.2, 3, 5, 6.3 and 7.1.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100
MAX_TARGET_BYTES = 8 * 1024
MAX_EXTRA_BYTES = 4 * 1024  # of one chunk's size and extensions, or of the trailers
MANY_CHUNKS, SMALL_CHUNK_BYTES = 10_000, 1024
TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
FIELD = TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
FIELDS = re.compile(rb"(?:" + FIELD + rb")*")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?[\t ]*")
LENGTH = re.compile(rb"[0-9]{1,20}")
ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
ONCE = (b"host", b"content-length", b"transfer-encoding")
HTTP_1_0, HTTP_1_1 = "1.0", "1.1"


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


@dataclass(frozen=True, slots=True)
class Head:
    """What a request asks for.

    Attributes:
        target: path and query as they came.
        headers: names in lower case, values without blanks around them.
        length: of the body; None where it comes in chunks.
        keep_alive: whether the client may send another request.
        expects_continue: whether it waits for a 100 before it sends the body.
    """

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    length: int | None
    keep_alive: bool
    expects_continue: bool


def read_head(head: bytes) -> Head | Refusal:
    """Read one head, or say why it cannot be used. `head` ends with its empty line."""
    line, _, fields = head[:-2].partition(b"\r\n")
    request = REQUEST_LINE.fullmatch(line)
    if request is None or not FIELDS.fullmatch(fields):
        return NOT_HTTP
    target, version = request[2], HTTP_1_1 if request[3] == b"1" else HTTP_1_0
    parts = [each.partition(b":") for each in fields.split(b"\r\n")[:-1]]
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in parts]
    known = dict(headers)
    length = _body_length(known, version)
    if isinstance(length, Refusal) or (len(known) < len(headers) and _ambiguous(headers)):
        return NOT_HTTP
    if version == HTTP_1_1 and b"host" not in known:
        return NOT_HTTP
    refusal = _refuse(target, len(headers))
    if refusal is not None:
        return refusal
    keep_alive = version == HTTP_1_1 and not (b"connection" in known and _says(headers, b"connection", b"close"))
    waits = version == HTTP_1_1 and b"expect" in known and _says(headers, b"expect", b"100-continue")
    return Head(request[1].decode(), target, version, headers, length, keep_alive, waits)


def refuse_unfinished(head: bytes) -> Refusal | None:
    """Why a head whose end has not come yet cannot become one; None while it can."""
    if len(head) >= MAX_HEAD_BYTES:
        return HEAD_TOO_LARGE if b"\n" in head[: MAX_TARGET_BYTES + 1] else TARGET_TOO_LONG
    if head[:1] < b"!" or head.count(b"\n") != head.count(b"\r\n"):  # TLS, or lines that end in LF alone
        return NOT_HTTP
    return None


def _refuse(target: bytes, headers: int) -> Refusal | None:
    """Why a head that can be read in one way only cannot be used all the same."""
    if len(target) > MAX_TARGET_BYTES:
        return TARGET_TOO_LONG
    if headers > MAX_HEADERS:
        return HEAD_TOO_LARGE
    return BAD_PATH if b"%" in target and not _is_text(target.partition(b"?")[0]) else None


def _ambiguous(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a header that says where things begin or end comes more than once."""
    names = [name for name, _ in headers]
    return any(names.count(name) > 1 for name in ONCE)


def _body_length(known: dict[bytes, bytes], version: str) -> int | Refusal | None:
    """How many bytes follow, None for chunks, NOT_HTTP where that is not certain."""
    coding, length = known.get(b"transfer-encoding"), known.get(b"content-length")
    if coding is not None:
        return None if coding.lower() == b"chunked" and length is None and version == HTTP_1_1 else NOT_HTTP
    if length is None:
        return 0
    return int(length) if LENGTH.fullmatch(length) else NOT_HTTP


def _says(headers: list[tuple[bytes, bytes]], name: bytes, word: bytes) -> bool:
    """Whether one of a header's comma-separated words is this one."""
    return any(word == each.strip().lower() for found, value in headers if found == name for each in value.split(b","))


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


def _is_trailer(line: bytes) -> bool:
    """Whether a line may stand behind the last chunk, where nothing says any more how long anything is."""
    return line.partition(b":")[0].lower() not in ONCE and bool(FIELDS.fullmatch(line + b"\r\n"))


class Chunks:
    """A body that comes in chunks. `complete` once its last chunk and the trailers, which nobody reads, have come."""

    def __init__(self) -> None:
        self.complete = False
        self._unread = b""  # the beginning of a line
        self._left = 0  # bytes of the chunk under way
        self._in_trailers = self._after_data = False
        self._chunks = self._body_bytes = self._trailer_bytes = 0

    def take(self, data: bytes) -> tuple[bytes, bytes] | Refusal:
        """The part of the body in `data`, and what lies behind the body; or why this is none."""
        pieces: list[bytes] = []
        data = self._unread + data
        at = 0
        while not self.complete and at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._count(len(piece))
                continue
            end = data.find(b"\r\n", at, at + MAX_EXTRA_BYTES)
            if end < 0:
                if len(data) - at >= MAX_EXTRA_BYTES or (self._after_data and data[at : at + 1] != b"\r"):
                    return BAD_BODY
                break
            if not self._line(data[at:end]):
                return BAD_BODY
            at = end + 2
        self._unread = b"" if self.complete else data[at:]
        return b"".join(pieces), data[at:] if self.complete else b""

    def _count(self, size: int) -> None:
        self._left -= size
        self._body_bytes += size
        self._after_data = not self._left

    def _line(self, line: bytes) -> bool:
        """Take a line between the data; whether it may stand there."""
        if self._in_trailers:
            self._trailer_bytes += len(line) + 2
            self.complete = not line
            return self._trailer_bytes <= MAX_EXTRA_BYTES and (not line or _is_trailer(line))
        if self._after_data:
            self._after_data = False
            return not line
        size = CHUNK_SIZE.fullmatch(line)
        if size is None:
            return False
        self._left = int(size[1], 16)
        self._in_trailers = not self._left
        self._chunks += 1
        return self._chunks <= MANY_CHUNKS + self._body_bytes / SMALL_CHUNK_BYTES
