"""What surrounds every HTTP request: its places, and the time that its body may take."""

import asyncio
import socket
import time
from pathlib import Path

import serving_fakes
from running_service import free_ports, picture, running
from serving_fakes import KeyDatabase
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.access import MAX_STREAMS, Access
from service.callers import Callers
from service.keys import Keys
from service.metrics import Metrics

HEAD = b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"


class WaitingApplication:
    """Answers job events when `done` is set, everything else at once."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("/events"):
            await self.done.wait()
        await Response()(scope, receive, send)


async def ask(access: Access, path: str) -> int:
    """The status of one GET."""
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"127.0.0.1")]}
    await access(scope, receive, send)
    return statuses[0]


def test_streams_have_few_places_of_their_own() -> None:
    async def scenario() -> None:
        metrics, application = Metrics(), WaitingApplication()
        settings = serving_fakes.settings(queue_size=1)
        access = Access(application, metrics, frozenset, settings, Callers(settings, Keys(KeyDatabase())))
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            streams = [tasks.create_task(ask(access, f"/api/v1/jobs/{each}/events")) for each in range(MAX_STREAMS)]
            await asyncio.sleep(0)  # each is in its place now
            assert await ask(access, "/api/v1/jobs/more/events") == 429
            assert await ask(access, "/api/v1/jobs") == 200
            assert b'ripen_rejected_total{reason="overloaded"} 1.0' in metrics.expose()
            application.done.set()
        assert {stream.result() for stream in streams} == {200}
        assert await ask(access, "/api/v1/jobs/more/events") == 200

    asyncio.run(scenario())


def answer(connection: socket.socket) -> bytes:
    """Everything that still comes until the service closes the connection."""
    with connection.makefile("rb") as stream:
        return stream.read()


def test_a_body_that_stops_coming_is_given_up_but_a_slow_answer_is_waited_for(tmp_path: Path) -> None:
    with running(tmp_path, free_ports(home=tmp_path, request_timeout_s=0.2)) as (service, _):
        address, body = ("127.0.0.1", service.ports.rest), picture()
        service.hold()
        with socket.create_connection(address, timeout=20) as whole, socket.create_connection(address, 20) as silent:
            whole.sendall((HEAD % len(body)).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
            assert service.predictor.waiting.wait(10)
            silent.sendall(HEAD % 10 + b"abc")
            refused = answer(silent)
            assert refused.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"request_timeout"' in refused
            service.release()
            assert answer(whole).startswith(b"HTTP/1.1 200 ")


def test_bodies_under_way_hold_only_so_much(tmp_path: Path) -> None:
    with running(tmp_path, free_ports(home=tmp_path, max_request_bytes=1_000_000)) as (service, _):
        access = service.servers.access
        access.most_held_bytes = 1_500_000
        address = ("127.0.0.1", service.ports.rest)
        with socket.create_connection(address, timeout=20) as first, socket.create_connection(address, 20) as second:
            first.sendall(HEAD % 1_000_000 + bytes(900_000))
            until = time.monotonic() + 20
            while access.held_bytes < 900_000:
                assert time.monotonic() < until
            second.sendall(HEAD % 1_000_000 + bytes(900_000))
            assert second.recv(4096).startswith(b"HTTP/1.1 429")
        while access.held_bytes:
            assert time.monotonic() < until
