"""A stop under load behind a load balancer: no request is lost, and stalled uploads do not hold the stop up."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import tiny_version
from open_loop import OpenLoop
from service_process import Process, publish, started

IN_FLIGHT = 20
STALLED = 5
ENGINE_PAUSE_S = 2.0
HEAD = b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc"
PICTURE = tiny_version.picture(1)


def engine_of(process: Process) -> int:
    """The service's only child: one version, one engine."""
    pid = process.popen.pid
    tasks = Path(f"/proc/{pid}/task").iterdir()
    (engine,) = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    return engine


def under_way(process: Process) -> int:
    """Images that wait in the engine's queue or are in the engine."""
    lines = process.client.get("/metrics").text.splitlines()
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("ripen_queue_depth")))


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


def predict(url: str) -> int:
    return httpx.post(f"{url}/api/v1/predict", content=PICTURE, timeout=30).status_code


def test_a_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    home, told = tmp_path / "home", dict[str, float]()
    publish(home, 1, bias=0.5)
    with started(home, RIPEN_DRAIN_DELAY_S=5) as process, ThreadPoolExecutor(IN_FLIGHT) as pool:
        process.wait_for(process.ready)
        url = str(process.client.base_url)
        images = [tiny_version.picture(seed) for seed in range(8)]
        load = OpenLoop(url, process.grpc_address, images, connections=10, rate=50).start()
        process.wait_for(lambda: len(load.replies) >= 50)
        uploads = [stalled_upload(process) for _ in range(STALLED)]
        engine = engine_of(process)
        os.kill(engine, signal.SIGSTOP)
        slow = [pool.submit(predict, url) for _ in range(IN_FLIGHT)]
        process.wait_for(lambda: under_way(process) >= IN_FLIGHT)
        watching = [threading.Thread(target=watch_ready, args=(process, told))]
        watching.append(threading.Thread(target=balance, args=(process, load, told)))
        for thread in watching:
            thread.start()
        stopped = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        threading.Event().wait(ENGINE_PAUSE_S)
        os.kill(engine, signal.SIGCONT)
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
