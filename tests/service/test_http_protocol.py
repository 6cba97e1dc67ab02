"""One REST connection's limits. The time is told to `sweep`, which the service calls once a second: nothing waits."""

import contextlib
import http.client
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_service import CLASSES, RunningService, free_ports, picture, running

from service.answer_reader import READER_S, bytes_on_their_way
from service.http_grammar import Chunks
from service.http_protocol import (
    HEAD_S,
    LEFTOVER_S,
    LINGER_S,
    STALLED_UPLOAD_S,
    LimitedProtocol,
)

HEAD = b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LARGE = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@contextlib.contextmanager
def connected(service: RunningService, *, window: int | None = None) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        if window is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", service.ports.rest))
        yield connection


def connections(service: RunningService) -> list[LimitedProtocol]:
    async def look() -> list[LimitedProtocol]:
        return service.servers._rest._state.limited()

    found = service.call(look)
    assert isinstance(found, list)
    return found


def let_pass(service: RunningService, seconds: float) -> None:
    """The service looks at its connections now and once more that much later."""

    async def sweep() -> None:
        for each in service.servers._rest._state.limited():
            each.sweep(each.loop.time())
            each.sweep(each.loop.time() + seconds)

    service.call(sweep)


def until(service: RunningService, holds: str) -> None:
    """Wait until the only connection's phase has this name."""
    end = time.monotonic() + 20
    while [each._phase().name for each in connections(service)] != [holds]:
        assert time.monotonic() < end


def until_gone(service: RunningService) -> None:
    end = time.monotonic() + 20
    while connections(service) or service.servers._rest._state.tasks:
        assert time.monotonic() < end


def until_stuck(service: RunningService) -> None:
    """Wait until the only connection's client could take more than it does."""
    end = time.monotonic() + 20
    while not [each for each in connections(service) if bytes_on_their_way(each._kernel) > 65536]:
        assert time.monotonic() < end


def status(connection: socket.socket) -> int:
    """The next whole answer's status."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def test_who_says_nothing_is_closed(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _), connected(service) as silent:
        until(service, "HEAD")
        let_pass(service, HEAD_S - 1)
        assert len(connections(service)) == 1
        let_pass(service, HEAD_S + 1)
        with pytest.raises(ConnectionResetError):
            silent.recv(1)


def test_half_a_head_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _), connected(service) as slow:
        slow.sendall(GET)
        assert status(slow) == 200
        slow.sendall(HEAD)  # the second request of a kept connection has no more time than the first
        until(service, "HEAD")
        let_pass(service, HEAD_S + 1)
        answer = slow.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in answer
        let_pass(service, LINGER_S + 1)  # it has read the answer and does not go
        until_gone(service)
        assert service.metric('ripen_rejected_total{reason="request_timeout"}') == 1


def test_an_idle_connection_is_kept(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _), connected(service) as kept:
        for _ in range(2):
            kept.sendall(GET)
            assert status(kept) == 200
            until(service, "IDLE")
            let_pass(service, 60)


def test_the_rest_of_an_answered_body_is_not_taken_for_ever(tmp_path: Path) -> None:
    settings = free_ports(home=tmp_path, max_request_bytes=1024)
    with running(tmp_path, settings) as (service, _), connected(service) as client:
        client.sendall(HEAD + b"Content-Length: 5000\r\n\r\nabc")
        assert status(client) == 413
        until(service, "LEFTOVER")
        let_pass(service, LEFTOVER_S + 1)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_who_sends_the_rest_may_go_on(tmp_path: Path) -> None:
    settings = free_ports(home=tmp_path, max_request_bytes=1024)
    with running(tmp_path, settings) as (service, _), connected(service) as client:
        client.sendall(HEAD + b"Content-Length: 5000\r\n\r\nabc")
        assert status(client) == 413
        client.sendall(b"a" * 4997 + GET)
        assert status(client) == 200


def test_who_does_not_take_the_answer_is_closed(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _), connected(service, window=2304) as reader:
        reader.sendall(LARGE)
        until_stuck(service)
        let_pass(service, READER_S - 1)
        assert len(connections(service)) == 1
        let_pass(service, 2 * READER_S)
        while not reader.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            pass
        assert service.metric('ripen_rejected_total{reason="slow_reader"}') == 1


def test_who_takes_the_answer_at_a_modem_s_speed_is_not(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _), connected(service, window=2304) as reader:
        reader.sendall(LARGE)
        taken = len(reader.recv(2048))
        (connection,) = connections(service)
        began = connection.loop.time()

        async def sweep() -> None:
            connection.sweep(began + taken / 4096)  # 4 KiB per second

        while taken < 40 * 4096:
            taken += len(reader.recv(2048))
            service.call(sweep)
        assert connections(service)


def test_an_uploads_pause_is_cut_only_while_the_service_stops(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _), connected(service) as upload:
        upload.sendall(HEAD + b"Content-Length: 5000\r\n\r\nabc")
        until(service, "BODY")
        let_pass(service, STALLED_UPLOAD_S + 1)
        service.servers._rest._state.draining = True
        let_pass(service, STALLED_UPLOAD_S - 1)
        assert connections(service)
        let_pass(service, STALLED_UPLOAD_S + 1)
        answer = upload.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1".lower() in answer.lower()
        assert b'"code":"draining"' in answer


def test_a_slow_answer_and_a_stream_are_not_cut(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _), connected(service) as client:
        service.hold()
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(picture()) + picture())
        assert service.predictor.waiting.wait(10)
        let_pass(service, 10_000)
        service.release()
        assert status(client) == 200


def test_job_events_are_not_cut(tmp_path: Path) -> None:
    with running(tmp_path) as (service, client):
        for label in CLASSES:
            for bucket in ({}, {"bucket": "holdout"}):
                first = len(label) * 30 + 15 * len(bucket)  # chance chooses their buckets: a few would not do
                files = [("file", picture(first + number)) for number in range(12)]
                stored = client.post("/api/v1/examples", data={"label": label, **bucket}, files=files)
                assert stored.status_code == 201, stored.text
        started = client.post("/api/v1/retrain")
        assert started.status_code == 202, started.text
        job = started.json()["id"]
        with client.stream("GET", f"/api/v1/jobs/{job}/events") as events:
            told = events.iter_text()
            assert next(told).startswith("event: progress")
            let_pass(service, 10_000)
            client.post(f"/api/v1/jobs/{job}:cancel")
            assert "event: end" in "".join(told)


def test_the_longest_idle_connection_gives_way(tmp_path: Path) -> None:
    with running(tmp_path, free_ports(home=tmp_path, max_connections=2)) as (service, _):
        service.hold()
        with connected(service) as busy, connected(service) as idle:
            busy.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(picture()) + picture())
            assert service.predictor.waiting.wait(10)
            idle.sendall(GET)
            assert status(idle) == 200
            with connected(service) as new:
                new.sendall(GET)
                assert status(new) == 200
                with pytest.raises(ConnectionResetError):
                    idle.recv(1)
                service.release()
                assert status(busy) == 200
        assert service.metric('ripen_rejected_total{reason="too_many_connections"}') == 1


def test_pipelined_requests_are_answered_in_order_until_one_is_bad(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _), connected(service) as client:
        client.sendall(GET + GET.replace(b"/healthz", b"/nothing") + b"nonsense\r\n\r\n" + GET)
        assert re.findall(rb"HTTP/1.1 (\d+) ", client.makefile("rb").read()) == [b"200", b"404", b"400"]


def test_a_broken_body_ends_a_request_that_is_under_way(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _), connected(service) as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        until(service, "BODY")
        client.sendall(b"zz\r\n")
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
        until_gone(service)


def test_a_large_upload_in_small_pieces_is_fine() -> None:
    chunks = Chunks()
    for _ in range(20_000):
        assert chunks.take(b"800\r\n" + b"a" * 2048 + b"\r\n") == (b"a" * 2048, b"")
