"""200 clients that go away in the middle of their requests are forgotten at once: nothing is in flight any more."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import tiny_version
from service_process import Process, publish, started

from protos import ripen_v1_pb2

CLIENTS = 100  # of each protocol
FORGOTTEN_S = 1.0
CLASSIFY = "/ripen.v1.Classifier/Classify"


def in_flight(process: Process) -> float:
    (line,) = [
        line
        for line in process.client.get("/metrics").text.splitlines()
        if line.startswith("ripen_requests_in_flight ")
    ]
    return float(line.split()[1])


@contextmanager
def standing_still(process: Process) -> Iterator[None]:
    """The engine answers nothing meanwhile."""
    children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split()
    engines = [int(each) for each in children if b"engine" in Path(f"/proc/{each}/cmdline").read_bytes()]
    assert engines
    for engine in engines:
        os.kill(engine, signal.SIGSTOP)
    try:
        yield
    finally:
        for engine in engines:
            os.kill(engine, signal.SIGCONT)


async def leave_in_the_middle(process: Process, image: bytes) -> float:
    """Let everybody ask and leave; how long their requests were still in flight, in seconds."""
    head = b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(image)
    port = int(process.client.base_url.port or 0)
    connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(CLIENTS)]
    for connection in connections:
        connection.sendall(head + image)
    message = ripen_v1_pb2.ClassifyRequest(images=[ripen_v1_pb2.Image(data=image)]).SerializeToString()
    async with grpc.aio.insecure_channel(process.grpc_address) as channel:
        calls = [channel.unary_unary(CLASSIFY)(message) for _ in range(CLIENTS)]
        await asyncio.to_thread(process.wait_for, lambda: in_flight(process) == 2 * CLIENTS)
        began = time.monotonic()
        for connection in connections:
            connection.close()
        for call in calls:
            call.cancel()
        await asyncio.to_thread(process.wait_for, lambda: in_flight(process) == 0)
        return time.monotonic() - began


def test_nothing_of_them_is_in_flight_any_more(tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(home, 1, bias=0.5)
    with started(home) as process:
        process.wait_for(process.ready)
        image = tiny_version.picture(1)
        with standing_still(process):
            seconds = asyncio.run(leave_in_the_middle(process, image))
        assert seconds < 5 * FORGOTTEN_S  # it is stated for a machine with nothing else to do
        assert process.client.post("/api/v1/predict", content=image).status_code == 200
        assert "Traceback" not in process.log.read_text()
