"""h11 with refusals of what it lets pass: the reader of HTTP that ours is compared with."""

import h11

from service.http_grammar import (
    MANY_CHUNKS,
    MAX_EXTRA_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    SMALL_CHUNK_BYTES,
)

Reading = tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]], bytes]  # method, target, version, headers, body
CONTROLS = {*range(9), 11, 12, *range(14, 32), 127}


def read_by_h11(message: bytes) -> Reading | None:
    """The one request that these bytes are, as h11 reads them; None where they are none, or no whole one."""
    connection = h11.Connection(h11.SERVER, 2 * MAX_HEAD_BYTES)
    connection.receive_data(message)
    try:
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return None
        head_bytes = len(message) - len(connection._receive_buffer)
        if _too_lenient(request, message[:head_bytes]):
            return None
        body = _body(connection)
    except h11.RemoteProtocolError:
        return None
    if body is None or connection.trailing_data[0]:
        return None
    return request.method, request.target, request.http_version, list(request.headers), body


def _too_lenient(request: h11.Request, head: bytes) -> bool:
    names = [name for name, _ in request.headers]
    chunked = b"transfer-encoding" in names
    lengths = [line for line in head.lower().split(b"\n") if line.startswith(b"content-length:")]
    return (
        len(request.target) > MAX_TARGET_BYTES
        or len(head) > MAX_HEAD_BYTES
        or len(names) > MAX_HEADERS
        or request.http_version not in (b"1.0", b"1.1")
        or (chunked and (b"content-length" in names or request.http_version == b"1.0"))
        or len(lengths) > 1
        or any(b"," in line for line in lengths)
        or head.count(b"\n") != head.count(b"\r\n")
        or b"\n " in head
        or b"\n\t" in head
        or bool(CONTROLS & set(head))
    )


def _body(connection: h11.Connection) -> bytes | None:
    body, chunks = b"", 0
    while True:
        before = len(connection._receive_buffer)
        event = connection.next_event()
        taken = before - len(connection._receive_buffer)
        if isinstance(event, h11.EndOfMessage):
            return None if taken > MAX_EXTRA_BYTES else body
        if not isinstance(event, h11.Data):
            return None
        body += event.data
        chunks += event.chunk_start
        if taken - len(event.data) > MAX_EXTRA_BYTES or chunks > MANY_CHUNKS + len(body) / SMALL_CHUNK_BYTES:
            return None
