"""The load generator's HTTP, against a server that sends a test's bytes."""

import asyncio
import ssl
from collections.abc import Callable

import pytest
import trustme

from ripen import bench_http
from ripen.bench_http import HttpTarget, read_prediction
from ripen.bench_plan import Answer
from ripen.errors import ServiceUnreachable

BODY = b'{"request_id":"r","model":{"name":"default","version":3},"predictions":[{"label":"a","probability":0.25}]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-LENGTH: %d\r\n" % len(BODY)
WHOLE = HEAD + b"\r\n" + BODY
GOOD = Answer(3, 0.25)


class Server:
    """Answers each request of a connection with one of `answers`, each a list of pieces; then it hangs up."""

    def __init__(self, *answers: list[bytes], context: ssl.SSLContext | None = None) -> None:
        self._answers = list(answers)
        self._context = context
        self.requests: list[bytes] = []
        self.connections = 0

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._context)
        scheme, port = "https" if self._context else "http", self._server.sockets[0].getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{port}/api?model=x"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self._answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                for piece in self._answers.pop(0):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
            await reader.read()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def ask(server: Callable[[], Server], times: int = 1, **options: object) -> tuple[Server, list[Answer]]:
    async def run() -> tuple[Server, list[Answer]]:
        async with server() as running:
            target = HttpTarget(running.url, **options)  # type: ignore[arg-type]  # a test's
            sender = target.sender()
            await sender.open()
            answers = [await sender.send(target.encode(b"image")) for _ in range(times)]
            await sender.close()
            return running, answers

    return asyncio.run(run())


def test_a_request_is_what_was_asked_for() -> None:
    server, answers = ask(
        lambda: Server([WHOLE]), headers={"Authorization": "Bearer k"}, content_type="x/y", body=lambda image: image * 2
    )
    assert answers == [GOOD]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"imageimage"
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /api?model=x HTTP/1.1"
    assert {b"Content-Length: 10", b"Authorization: Bearer k", b"Content-Type: x/y"} <= set(lines)
    assert b"Host: 127.0.0.1:" in head


@pytest.mark.parametrize("cut", [1, 12, len(HEAD), len(HEAD) + 1, len(HEAD) + 2, len(WHOLE) - 1])
def test_an_answer_may_come_in_pieces(cut: int) -> None:
    server, answers = ask(lambda: Server([WHOLE[:cut], WHOLE[cut:]], [WHOLE]), 2)
    assert answers == [GOOD, GOOD]
    assert server.connections == 1


@pytest.mark.parametrize("head", [HEAD + b"Connection: close\r\n\r\n", HEAD.replace(b"/1.1", b"/1.0") + b"\r\n"])
def test_a_connection_that_ends_is_made_anew(head: bytes) -> None:
    server, answers = ask(lambda: Server([head + BODY], [WHOLE], [WHOLE]), 3)
    assert answers == [GOOD] * 3
    assert server.connections == 2


def test_a_connection_that_is_lost_costs_one_request() -> None:
    server, answers = ask(lambda: Server([WHOLE[:50], b""], [WHOLE]), 2)
    assert [answer.code for answer in answers] == ["connection_lost", ""]
    assert server.connections == 2


def test_what_cannot_be_read_has_a_code() -> None:
    no_length = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    _, answers = ask(lambda: Server([no_length], [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"]), 2)
    assert [answer.code for answer in answers] == ["connection_lost", "200 unreadable"]
    assert "Content-Length" in answers[0].message


def test_a_refusal_keeps_its_name_and_its_words() -> None:
    body = b'{"error": {"code": "overloaded", "message": "Full.", "request_id": "r"}}'
    assert read_prediction(429, body)[2:] == ("429 overloaded", "Full.")
    assert read_prediction(502, b"<html>").code == "502 unreadable"
    assert read_prediction(200, b'{"predictions": []}').code == "200 unreadable"


def test_a_server_that_is_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_http, "ANSWER_S", 0.1)
    _, answers = ask(lambda: Server([WHOLE[:10]], [WHOLE]))
    assert answers[0].code == "unanswered"


def test_nobody_there_is_an_error_at_first_and_an_answer_later() -> None:
    async def gone() -> tuple[Answer, str]:
        async with Server() as server:
            target = HttpTarget(server.url)
        with pytest.raises(ServiceUnreachable) as raised:
            await target.sender().open()
        return await target.sender().send(b""), str(raised.value)

    answer, said = asyncio.run(gone())
    assert answer.code == "unreachable"
    assert "No service answers at http://127.0.0.1:" in said


def test_tls_trusts_whom_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIPEN_CA_FILE", raising=False)
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    _, answers = ask(lambda: Server([WHOLE], context=context), trust=trust)
    assert answers == [GOOD]
    with pytest.raises(ServiceUnreachable, match="is not trusted"):
        ask(lambda: Server([WHOLE], context=context))


@pytest.mark.parametrize("url", ["localhost:8501", "grpc://h:1", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ServiceUnreachable, match="expected one like"):
        HttpTarget(url)
