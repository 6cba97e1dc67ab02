"""A stop under load behind a load balancer: no request is lost, and stalled uploads do not hold the stop up."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import tiny_version
from open_loop import OpenLoop
from service_process import Process, publish, started

IN_FLIGHT = 20
STALLED = 5
DELAY_S = 5.0
PIECES, PIECE_EVERY_S = 14, 0.5  # a slow upload takes 7 s: it begins before the stop and ends after the delay
HEAD = b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc"
PICTURE = tiny_version.picture(1, side=256)


def balance(process: Process, load: OpenLoop, told: dict[str, float]) -> None:
    """Ask /readyz as a load balancer does, and send nothing more once it says no."""
    with httpx.Client(base_url=process.client.base_url, timeout=5) as client:
        while client.get("/readyz").status_code == 200:
            threading.Event().wait(1.0)  # a balancer's interval is part of what is tested
    told["balancer"] = time.monotonic()
    told["requests"] = len(load.stop())


def watch_ready(process: Process, told: dict[str, float]) -> None:
    with httpx.Client(base_url=process.client.base_url, timeout=5) as client:
        while client.get("/readyz").status_code == 200:
            pass
    told["not ready"] = time.monotonic()


def stalled_upload(process: Process) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", process.client.base_url.port), timeout=30)
    connection.sendall(HEAD)
    return connection


def slow_upload(url: str, begun: threading.Semaphore) -> int:
    """The status of a request whose body is on its way all the time, but slowly."""

    def pieces() -> Iterator[bytes]:
        size = -(-len(PICTURE) // PIECES)
        for start in range(0, len(PICTURE), size):
            yield PICTURE[start : start + size]
            begun.release()
            threading.Event().wait(PIECE_EVERY_S)  # a slow client is what is tested

    return httpx.post(f"{url}/api/v1/predict", content=pieces(), timeout=30).status_code


def test_a_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    home, told = tmp_path / "home", dict[str, float]()
    publish(home, 1, bias=0.5)
    with started(home, RIPEN_DRAIN_DELAY_S=DELAY_S) as process, ThreadPoolExecutor(IN_FLIGHT) as pool:
        process.wait_for(process.ready)
        url = str(process.client.base_url)
        images = [tiny_version.picture(seed) for seed in range(8)]
        load = OpenLoop(url, process.grpc_address, images, connections=10, rate=50).start()
        process.wait_for(lambda: len(load.replies) >= 100)
        uploads = [stalled_upload(process) for _ in range(STALLED)]
        begun = threading.Semaphore(0)
        slow = [pool.submit(slow_upload, url, begun) for _ in range(IN_FLIGHT)]
        assert all(begun.acquire(timeout=20) for _ in range(2 * IN_FLIGHT))
        watching = [threading.Thread(target=watch_ready, args=(process, told))]
        watching.append(threading.Thread(target=balance, args=(process, load, told)))
        for thread in watching:
            thread.start()
        stopped = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(60) == 0, process.log.read_text()
        exited = time.monotonic()
        for thread in watching:
            thread.join(30)
        assert "Traceback" not in process.log.read_text()
        statuses = [each.result() for each in slow]
        cut = [upload.recv(65536)[:12] for upload in uploads]
        for upload in uploads:
            upload.close()
    failed = [reply.error for reply in load.replies if reply.error]
    print(
        f"{len(load.replies)} requests at 50/s, {len(failed)} failed; {statuses.count(200)} of {IN_FLIGHT} slow ones "
        f"answered; not ready after {told['not ready'] - stopped:.2f} s, exit after {exited - stopped:.1f} s"
    )
    assert not failed
    assert statuses == [200] * IN_FLIGHT
    assert set(cut) <= {b"HTTP/1.1 503", b"HTTP/1.1 408"}
    assert told["not ready"] - stopped < 1
    assert exited - stopped < 30
