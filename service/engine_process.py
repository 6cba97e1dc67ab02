"""One loaded version in a process of its own: decode and infer, nothing else. LINE A step 5, LINE B step 5.

Started by `service/engine.py` as `python -m service.engine_process --socket FD --model NAME --version N`; the last two
are for people who look at the process list. The runtime lives and dies here: a crash does not reach the listener, and
unloading gives every byte back.
"""

import contextlib
import io
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

import cv2
import msgspec
import numpy as np

from contract.errors import DeadlineExceeded, InvalidImage, LoadFailed, RipenError
from contract.images import ImageLimits, Pixels, decode_resized
from contract.ports import Seat
from contract.records import Failure
from service.engine_loading import Loaded, infer_checked, load_version
from service.engine_priority import end_with_parent
from service.engine_wire import (
    HEADER,
    Batch,
    BatchResult,
    EngineImage,
    LoadOrder,
    LoadReport,
    encode_frame,
    failure_of,
)

READ_BYTES = 2**18  # at once: a photo or a few
OOM_SCORE = 300  # of 1000: as if it used 30 % more of the memory than it does
LATE = failure_of(DeadlineExceeded("The request's time ran out before the image's turn came."))


class EngineProcess:
    """The child's end. `run` answers batches until the parent goes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = io.BufferedReader(connection.makefile("rb", buffering=0), READ_BYTES)
        self._reading = threading.Lock()
        self._sending = threading.Lock()
        self._busy: set[int] = set()  # workers that have a batch

    def run(self) -> None:
        """Load as ordered, report, then answer batches on several threads."""
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        order = msgspec.msgpack.decode(self._frame(), type=LoadOrder)
        try:
            loaded = load_version(order)
        except Exception as error:  # whatever goes wrong while loading is a report, never a crash
            self._send(LoadReport(failure=_load_failure(error)))
            return
        self._send(LoadReport(loaded.manifest, loaded.capacity))
        limits = ImageLimits(order.max_image_bytes, order.max_image_pixels)
        workers = [
            threading.Thread(target=self._work, args=(loaded, limits), daemon=True)
            for _ in range(loaded.runtime.workers)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _end_with_parent(self) -> None:
        """End at once when the parent has hung up, whatever the other threads are doing."""
        hung_up = select.poll()
        hung_up.register(self._connection, 0)
        hung_up.poll()
        os._exit(0)

    def _work(self, loaded: Loaded, limits: ImageLimits) -> None:
        """Take a batch off the socket whenever this thread is free: nothing is handed from thread to thread."""
        seat = loaded.runtime.seat()
        while True:
            with self._reading:
                frame = self._frame()
                self._busy.add(threading.get_ident())
            result = self._answer(msgspec.msgpack.decode(frame, type=Batch), loaded, seat, limits)
            self._busy.discard(threading.get_ident())
            self._send(result)

    def _frame(self) -> bytes:
        header = self._stream.read(HEADER.size)
        if len(header) < HEADER.size:
            os._exit(0)
        return self._stream.read(HEADER.unpack(header)[0])

    def _send(self, message: LoadReport | BatchResult) -> None:
        frame = b"".join(encode_frame(message))
        with self._sending:
            self._connection.sendall(frame)

    def _answer(self, batch: Batch, loaded: Loaded, seat: Seat, limits: ImageLimits) -> BatchResult:
        started = time.perf_counter()
        decoded = [_decode(image, loaded.manifest.image_size, limits) for image in batch.images]
        decoded_at = time.perf_counter()
        good = [pixels for pixels in decoded if not isinstance(pixels, Failure)]
        try:
            probabilities = iter(infer_checked(seat, _stack(good), alone=len(self._busy) == 1) if good else ())
        except Exception as error:  # one failing inference must not end the version for all others
            traceback.print_exc()
            return BatchResult(
                batch.id, failure=Failure("engine_unavailable", f"The inference failed: {_brief(error)}")
            )
        return BatchResult(
            batch.id,
            tuple(each if isinstance(each, Failure) else next(probabilities) for each in decoded),
            decode_seconds=decoded_at - started,
            infer_seconds=time.perf_counter() - decoded_at,
        )


def _stack(images: list[Pixels]) -> Pixels:
    """N times (H, W, 3) -> (N, H, W, 3) uint8; one image is not copied."""
    return images[0][None] if len(images) == 1 else np.stack(images)


def _decode(image: EngineImage, size: tuple[int, int], limits: ImageLimits) -> Pixels | Failure:
    height, width = size
    if image.deadline < time.monotonic():
        return LATE
    if not image.encoded:
        return np.frombuffer(image.data, np.uint8).reshape(height, width, 3)
    try:
        return decode_resized(image.data, height, width, limits)
    except RipenError as error:
        return failure_of(error)
    except Exception:  # a decoder's surprise is an error of this image alone
        traceback.print_exc()
        return failure_of(InvalidImage("The image cannot be decoded."))


def _load_failure(error: Exception) -> Failure:
    if isinstance(error, RipenError):
        return failure_of(error)
    traceback.print_exc()
    return failure_of(LoadFailed(f"The version cannot be loaded: {_brief(error)}"))


def _brief(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def go_first() -> None:
    """Where memory runs out, the kernel should end this process, which is restarted in seconds, and not the listener.

    A limit on its own memory would have to guess what TensorFlow maps; what a picture may cost is bounded before it is
    decoded. No core file either: it would hold users' pictures.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not Linux
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(min(1000, int(score.read_text()) + OOM_SCORE)))


def main() -> None:
    """Run the engine on the socket that the parent passed."""
    end_with_parent()
    go_first()
    cv2.setNumThreads(1)  # each worker resizes its own image; OpenCV's threads would only take turns with them
    for signal_number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # these may reach the whole group, and the parent drains first
        signal.signal(signal_number, signal.SIG_IGN)
    EngineProcess(socket.socket(fileno=int(sys.argv[2]))).run()


if __name__ == "__main__":
    main()
