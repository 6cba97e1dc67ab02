"""Our reader of HTTP reads what h11 reads, as h11 reads it, and nothing else; wherever the bytes are cut apart."""

import random
import re

import pytest
from strict_h11 import Reading, read_by_h11

from service.http_grammar import MAX_EXTRA_BYTES, Chunks, Head, Refusal, read_head, refuse_unfinished

MESSAGES = (
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /a%20b?x=%2 HTTP/1.0\r\nUser-Agent: x\r\nConnection: keep-alive, Upgrade\r\n\r\n",
    b"POST /api/v1/predict?model=default HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabcde",
    b"POST /p HTTP/1.1\r\nhost:\tb \r\nExpect: 100-continue\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"5;a=b\r\nabcde\r\n0A\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    b"PUT * HTTP/1.1\r\nHost:\r\nX-Empty:\r\nX-Latin: \xe9 \xff\r\nContent-Length: 0\r\n\r\n",
)
PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b";", b",", b"%", b"\x00", b"\x0b", b"\x7f", b"\x80"),
    *(b"0", b"5", b"-", b"+", b"_", b"0x", b"a", b"Z", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/1.0", b"GET ", b"Host: c\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length : 5\r\n", b"Content-Length: 5_0\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n"),
    *(b"X: a\r\n b\r\n", b"\xef\xbc\x95", b"X" * 5000 + b": y\r\n", b"5\r\nabcde\r\n", b"0\r\n\r\n"),
)
MORE_MUTANTS = 4_000
# Controls, lone CR or LF, folded trailers, and trailers that belong into the head.
LENIENT_BETWEEN_CHUNKS = re.compile(
    rb"(?i)\|\|\|\|.*(?:host|content-length|transfer-encoding):|[\x00-\x08\x0a-\x1f\x7f]|\|\|[ \t]"
)


def read_by_us(message: bytes, cuts: random.Random) -> Reading | None:
    """The one request that these bytes are; None where they are none, or no whole one."""
    end = message.find(b"\r\n\r\n", 0, 16 * 1024) + 4
    if end < 4:
        return None
    head = read_head(message[:end])
    if isinstance(head, Refusal):
        return None
    body = read_body(head, message[end:], cuts)
    version = head.version.encode()
    return None if body is None else (head.method.encode(), head.target, version, head.headers, body)


def read_body(head: Head, data: bytes, cuts: random.Random) -> bytes | None:
    if head.length is not None:
        return data if len(data) == head.length else None
    chunks, body, rest = Chunks(), b"", b""
    while data:
        size = cuts.randint(1, len(data))
        piece, data = data[:size], data[size:]
        if chunks.complete:
            return None
        taken = chunks.take(piece)
        if isinstance(taken, Refusal):
            return None
        body, rest = body + taken[0], taken[1]
    return body if chunks.complete and not rest else None


def mutants() -> list[bytes]:
    """The messages, with each piece put in at each place, and with several places changed by chance."""
    chance = random.Random(7)
    found = [
        message[:at] + piece + message[at:]
        for message in MESSAGES
        for at in range(len(message) + 1)
        for piece in (b"", *PIECES)
        if len(piece) < 1000 or at % 10 == 0
    ]
    for _ in range(MORE_MUTANTS):
        message = chance.choice(MESSAGES)
        for _ in range(chance.randint(2, 4)):
            at = chance.randrange(len(message) + 1)
            until = min(len(message), at + chance.randint(0, 3))
            new = chance.choice((b"", message[at:until] * 2, chance.choice(PIECES), bytes([chance.randrange(256)])))
            message = message[:at] + new + message[until:]
        found.append(message)
    return found


def normal(reading: Reading | None) -> Reading | None:
    """h11 writes the transfer coding small."""
    if reading is None:
        return None
    method, target, version, headers, body = reading
    small = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in headers]
    return method, target, version, small, body


def test_ours_reads_what_h11_reads() -> None:
    cuts = random.Random(1)
    whole = 0
    for message in mutants():
        ours, theirs = normal(read_by_us(message, cuts)), read_by_h11(message)
        if theirs is not None and b"%" in theirs[1]:
            continue  # escapes are looked at by us alone
        if ours is None and theirs is not None and (b"transfer-encoding", b"chunked") in theirs[3]:
            assert LENIENT_BETWEEN_CHUNKS.search(message.replace(b"\r\n", b"||")), message
            continue
        assert ours == theirs, message
        whole += ours is not None
    assert whole > 2_000  # else little would have been compared


@pytest.mark.parametrize(
    ("head", "keeps", "waits"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", False, False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", False, False),
        (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n", False, False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", True, True),
    ],
)
def test_what_becomes_of_the_connection(head: bytes, keeps: bool, waits: bool) -> None:
    read = read_head(head)
    assert isinstance(read, Head)
    assert (read.keep_alive, read.expects_continue) == (keeps, waits)


@pytest.mark.parametrize("begin", [b"\x16\x03\x01", b"\r\nGET", b" GET", b"GET / HTTP/1.1\nHost: a\n\n"])
def test_what_cannot_become_a_head_is_refused_before_its_end(begin: bytes) -> None:
    refusal = refuse_unfinished(begin)
    assert refusal is not None
    assert refusal.status == 400
    assert refuse_unfinished(b"GET / HTTP/1.1\r\nHost: a\r") is None


def test_lines_between_chunks_are_bounded_wherever_they_are_cut() -> None:
    for line in (b"5;" + b"e" * MAX_EXTRA_BYTES, b"0" * MAX_EXTRA_BYTES, b"0\r\n" + b"X: y\r\n" * 1000):
        chunks = Chunks()
        taken = [chunks.take(line[at : at + 100]) for at in range(0, len(line), 100)]
        assert any(isinstance(each, Refusal) for each in taken)
