"""Work that nobody waits for: 200 clients that go away in the middle of their requests, and 200 whose time runs out."""

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import tiny_version
from service_process import Process, publish, started

from protos import ripen_v1_pb2

CLIENTS = 100  # of each protocol
AT_THE_ENGINE = 6 * 4  # images at most that it had when their clients left: six batches in flight, of four
FORGOTTEN_S = 1.0
CLASSIFY = "/ripen.v1.Classifier/Classify"


def metric(process: Process, name: str) -> float:
    lines = process.client.get("/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def in_flight(process: Process) -> float:
    return metric(process, "ripen_requests_in_flight")


def inferred(process: Process) -> float:
    """Images that reached the runtime so far."""
    return metric(process, "ripen_batch_size_sum")


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
    with started(home, RIPEN_MAX_BATCH_SIZE=4, RIPEN_QUEUE_WAIT_S=60) as process:
        process.wait_for(process.ready)
        image = tiny_version.picture(1)
        before = inferred(process)
        with standing_still(process):
            seconds = asyncio.run(leave_in_the_middle(process, image))
        assert seconds < 5 * FORGOTTEN_S  # it is stated for a machine with nothing else to do
        assert process.client.post("/api/v1/predict", content=image).status_code == 200
        assert inferred(process) - before <= AT_THE_ENGINE + 1
        assert "Traceback" not in process.log.read_text()


async def ask_in_vain(process: Process, image: bytes) -> list[int]:
    """The statuses of requests whose time runs out while the engine does nothing."""
    headers = {"X-Request-Timeout-Ms": "2000"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=process.client.base_url, timeout=20, limits=limits) as client:
        asked = [client.post("/api/v1/predict", content=image, headers=headers) for _ in range(2 * CLIENTS)]
        return [answer.status_code for answer in await asyncio.gather(*asked)]


def test_nothing_whose_time_ran_out_reaches_the_runtime(tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(home, 1, bias=0.5)
    with started(home, RIPEN_MAX_BATCH_SIZE=4, RIPEN_QUEUE_WAIT_S=60) as process:
        process.wait_for(process.ready)
        image = tiny_version.picture(1)
        before = inferred(process)
        with standing_still(process):
            statuses = Counter(asyncio.run(ask_in_vain(process, image)))
        assert statuses.keys() <= {504, 429}
        assert statuses[504] > CLIENTS
        assert process.client.post("/api/v1/predict", content=image).status_code == 200
        assert inferred(process) - before == 1  # what was at the engine already is not computed either
