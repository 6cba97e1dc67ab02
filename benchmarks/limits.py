"""The limits: decode and infer in process, without a server, in the best arrangement of these cores.

A worker process is `python -m benchmarks.limits ORDER` (JSON). It loads and says `ready`; for each line that it gets it
works for the given seconds and prints what it measured, so that two processes run at the same time, or one in turns
with a server.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import IO

import cv2
import msgspec
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from contract.images import ImageLimits, Pixels, decode_resized
from contract.openvino_model import OpenVinoModel, Precision
from contract.records import RuntimeChoice

CORES = len(os.sched_getaffinity(0))
Infer = Callable[[Pixels], NDArray[np.float32]]


@dataclass(frozen=True)
class Arrangement:
    """How one machine's cores are used.

    Attributes:
        processes: that work at the same time.
        streams, threads: OpenVINO's; of one process. TensorFlow has `threads` per operation.
        workers: threads of one process that each decode a batch and then infer it.
        batch: images per inference.
    """

    processes: int
    streams: int
    threads: int
    workers: int
    batch: int = 1

    def __str__(self) -> str:
        return (
            f"{self.processes} process{'es' * (self.processes > 1)}, {self.streams} x {self.threads // self.streams} "
            f"threads, {self.workers} workers, batch {self.batch}"
        )


OPENVINO = (Arrangement(1, 1, CORES, 2), Arrangement(1, CORES, CORES, 2 * CORES), Arrangement(CORES, 1, 1, 1))
TENSORFLOW = (Arrangement(1, 1, CORES, 2, batch=8), Arrangement(CORES, 1, 1, 1, batch=8))
ALONE = Arrangement(1, 1, CORES, 1)  # the quickest for one image
WARM_UP_S = 0.5


@dataclass(frozen=True)
class Order:
    """What a worker process shall measure. `precision` counts for OpenVINO; `decoder` is `ours` or `simplejpeg`."""

    folder: Path
    images: Path
    side: int
    runtime: RuntimeChoice
    precision: Precision
    arrangement: Arrangement
    decoder: str = "simplejpeg"
    seconds: float = 3.0


@dataclass(frozen=True)
class Limit:
    """Measured: images per second, CPU milliseconds per image, and the median latency of one image in milliseconds."""

    images_per_s: float
    cpu_ms: float
    p50_ms: float


def arrangements(runtime: RuntimeChoice) -> Sequence[Arrangement]:
    """Those that are worth trying."""
    return TENSORFLOW if runtime is RuntimeChoice.TENSORFLOW else OPENVINO


def find_best(order: Order) -> Arrangement:
    """Try every arrangement once and return the one with the most images per second."""
    tried = {one: measure(replace(order, arrangement=one)) for one in arrangements(order.runtime)}
    return max(tried, key=lambda one: tried[one].images_per_s)


def measure(order: Order) -> Limit:
    """Run the order's arrangement in processes of its own."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile("w+"))
        workers = [stack.enter_context(_worker(order, log)) for _ in range(order.arrangement.processes)]
        limits = _ask(workers)
    rate = sum(limit.images_per_s for limit in limits)
    cpu_ms = sum(limit.cpu_ms * limit.images_per_s for limit in limits) / rate
    return Limit(rate, cpu_ms, median(limit.p50_ms for limit in limits))


@contextlib.contextmanager
def in_turns(order: Order) -> Iterator[Callable[[], Limit]]:
    """One worker process that measures whenever it is asked, and otherwise waits."""
    with tempfile.TemporaryFile("w+") as log, _worker(order, log) as worker:
        yield lambda: _ask([worker])[0]


def work(order: Order) -> Iterator[Limit]:
    """Load in this process, then decode and infer for the order's seconds, each time that the next limit is asked."""
    arrangement = order.arrangement
    images = [path.read_bytes() for path in sorted(order.images.glob("*.jpg"))]
    decode = DECODERS[order.decoder]
    inferences = _load(order)
    for infer in inferences:  # one thread first: OpenVINO's binding locks up where its first call is two at once
        infer(np.zeros((arrangement.batch, order.side, order.side, 3), np.uint8))
    latencies: list[list[float]] = [[] for _ in inferences]

    def run(number: int, until: float) -> None:
        place = number * len(images) // len(inferences)
        while (began := time.perf_counter()) < until:
            batch = [images[(place + offset) % len(images)] for offset in range(arrangement.batch)]
            inferences[number](np.stack([decode(image, order.side) for image in batch]))
            place += arrangement.batch
            latencies[number].append(time.perf_counter() - began)

    _together(run, len(inferences), time.perf_counter() + WARM_UP_S)
    print("ready", flush=True)
    for _ in sys.stdin:
        for each in latencies:
            each.clear()
        began, cpu = time.perf_counter(), time.process_time()
        _together(run, len(inferences), began + order.seconds)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        done = [latency for each in latencies for latency in each]
        count = len(done) * arrangement.batch
        yield Limit(count / seconds, cpu / count * 1000, median(done) * 1000)


def _decode_ours(data: bytes, side: int) -> Pixels:
    return decode_resized(data, side, side, ImageLimits())


def _decode_simplejpeg(data: bytes, side: int) -> Pixels:
    """The cheapest whole decode and the resize of training, without any of the service's checks."""
    pixels = simplejpeg.decode_jpeg(data, "RGB")
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


DECODERS: dict[str, Callable[[bytes, int], Pixels]] = {"ours": _decode_ours, "simplejpeg": _decode_simplejpeg}


def _load(order: Order) -> list[Infer]:
    """One inference function per worker thread; all of one loaded network."""
    arrangement = order.arrangement
    if order.runtime is RuntimeChoice.TENSORFLOW:
        from service.runtimes.tf_runtime import TensorFlowRuntime  # noqa: PLC0415  # 3 s that OpenVINO's limits need not

        runtime = TensorFlowRuntime(order.folder, arrangement.threads, arrangement.batch)
        return [partial(runtime.infer, alone=False)] * arrangement.workers
    model = OpenVinoModel(order.folder, order.precision, streams=arrangement.streams, threads=arrangement.threads)
    return [model.request().infer for _ in range(arrangement.workers)]


def _together(run: Callable[[int, float], None], count: int, until: float) -> None:
    threads = [threading.Thread(target=run, args=(number, until)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def _worker(order: Order, log: IO[str]) -> "Iterator[subprocess.Popen[str]]":
    """A worker process that is ready."""
    command = [sys.executable, "-m", "benchmarks.limits", msgspec.json.encode(order, enc_hook=str).decode()]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    if order.arrangement.threads == 1:
        environment |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
    )
    try:
        assert worker.stdout is not None
        if worker.stdout.readline() != "ready\n":
            log.seek(0)
            raise SystemExit(f"The limit of {order.folder} could not be measured:\n{log.read()[-2000:]}")
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def _ask(workers: "list[subprocess.Popen[str]]") -> list[Limit]:
    """All of them at the same moment."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [msgspec.json.decode(worker.stdout.readline(), type=Limit) for worker in workers if worker.stdout]


def main() -> None:
    """Be a worker process."""
    cv2.setNumThreads(1)
    order = msgspec.json.decode(sys.argv[1], type=Order, dec_hook=lambda kind, value: kind(value))
    for limit in work(order):
        print(msgspec.json.encode(limit).decode(), flush=True)


if __name__ == "__main__":
    main()
