"""What becomes of an application's answer on the wire, also of one that is none."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.http_protocol import LimitedProtocol, RestState


def start(*headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": 200, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answered(messages: tuple[Message, ...], method: bytes, version: bytes) -> bytes:
    """All that a client reads, to whose only request the application sends these messages."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    rejected: list[str] = []
    state = RestState(application, 10, rejected.append)
    server = await asyncio.get_running_loop().create_server(lambda: LimitedProtocol(state), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        writer.write(b"%b / HTTP/%b\r\nHost: a\r\nConnection: close\r\n\r\n" % (method, version))
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()
        server.close()


def ask(*messages: Message, method: bytes = b"GET", version: bytes = b"1.1") -> tuple[bytes, list[bytes], bytes]:
    """Status line, header lines and body of the answer."""
    head, _, rest = asyncio.run(answered(messages, method, version)).partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, lines, rest


def test_an_answer_of_known_length() -> None:
    told = ask(start((b"content-length", b"6"), (b"x", b"y")), body(b"abc", more=True), body(b"def"))
    assert told == (b"HTTP/1.1 200 OK", [b"content-length: 6", b"x: y", b"connection: close"], b"abcdef")


def test_a_stream_comes_in_chunks_or_until_the_end() -> None:
    stream = (start(), body(b"abc", more=True), body(b"", more=True), body(b""))
    chunked = [b"connection: close", b"transfer-encoding: chunked"]
    assert ask(*stream) == (b"HTTP/1.1 200 OK", chunked, b"3\r\nabc\r\n0\r\n\r\n")
    assert ask(*stream, version=b"1.0") == (b"HTTP/1.1 200 OK", [b"connection: close"], b"abc")


def test_no_body_where_there_must_be_none() -> None:
    told = ask(start((b"content-length", b"3")), body(b"abc"), method=b"HEAD")
    assert told == (b"HTTP/1.1 200 OK", [b"content-length: 3", b"connection: close"], b"")


@pytest.mark.parametrize(
    "messages",
    [
        (start((b"x", b"a\r\nSet-Cookie: b")), body(b"")),
        (start((b"content-length", b"5")), body(b"abc")),
        (start((b"content-length", b"2")), body(b"abc")),
        (start(), body(b"abc", more=True)),
    ],
    ids=["line break in a header", "too short", "too long", "never ends"],
)
def test_an_answer_that_cannot_be_read_in_one_way_is_cut_off(messages: tuple[Message, ...]) -> None:
    with pytest.raises(ConnectionResetError):
        ask(*messages)


def test_no_answer_at_all_is_500() -> None:
    status, lines, told = ask()
    assert status == b"HTTP/1.1 500 Internal Server Error"
    assert b"connection: close" in [line.lower() for line in lines]
    assert b'"code":"internal"' in told
