"""One loaded version in a process of its own: decode and infer, nothing else. LINE A step 5, LINE B step 5.

Started by `service/engine.py` as `python -m service.engine_process --socket FD --model NAME --version N`; the last two
are for people who look at the process list. TensorFlow lives and dies here: a crash does not reach the listener, and
unloading gives every byte back.
"""

import contextlib
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from contract import artifact
from contract.artifact import Manifest
from contract.errors import GoldenMismatch, InvalidImage, LoadFailed, RipenError, VersionCorrupt
from contract.images import ImageLimits, Pixels, decode_resized
from contract.ports import Runtime
from contract.records import Failure
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

DECODE_THREADS = 4
OOM_SCORE = 300  # of 1000: as if it used 30 % more of the memory than it does
GOLDEN_LIMITS = ImageLimits(2**40, 2**40)  # golden images are pinned by digest; a lowered limit must not refuse them


class EngineProcess:
    """The child's end. `run` answers batches until the parent goes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._decoders = ThreadPoolExecutor(DECODE_THREADS)  # Pillow and OpenCV release the GIL while they decode

    def run(self) -> None:
        """Load as ordered, report, then answer one batch after another."""
        threading.Thread(target=self._receive, daemon=True).start()
        order = msgspec.msgpack.decode(self._frames.get(), type=LoadOrder)
        try:
            manifest, runtime = load_version(order)
        except Exception as error:  # whatever goes wrong while loading is a report, never a crash
            self._send(LoadReport(failure=_load_failure(error)))
            return
        self._send(LoadReport(manifest))
        while True:
            batch = msgspec.msgpack.decode(self._frames.get(), type=Batch)
            self._send(self._answer(batch, manifest, runtime, order))

    def _receive(self) -> None:
        """Take frames off the socket; when the parent has gone, end at once, whatever the main thread is doing."""
        with self._connection.makefile("rb") as stream:
            while len(header := stream.read(HEADER.size)) == HEADER.size:
                self._frames.put(stream.read(HEADER.unpack(header)[0]))
        os._exit(0)

    def _send(self, message: LoadReport | BatchResult) -> None:
        for part in encode_frame(message):
            self._connection.sendall(part)

    def _answer(self, batch: Batch, manifest: Manifest, runtime: Runtime, order: LoadOrder) -> BatchResult:
        limits = ImageLimits(order.max_image_bytes, order.max_image_pixels)
        started = time.perf_counter()
        decoded = list(self._decoders.map(lambda image: _decode(image, manifest.image_size, limits), batch.images))
        decoded_at = time.perf_counter()
        good = [pixels for pixels in decoded if not isinstance(pixels, Failure)]
        try:
            probabilities = iter(infer_checked(runtime, np.stack(good)) if good else ())
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


def load_version(order: LoadOrder) -> tuple[Manifest, Runtime]:
    """Verify the folder, load it, compare the golden images, warm up every batch size.

    Raises:
        VersionCorrupt, GoldenMismatch: the folder is not what was published, or does not answer as it did then.
    """
    folder = Path(order.folder)
    manifest = artifact.verify(folder, order.manifest_sha256)
    if (manifest.model, manifest.version) != (order.model, order.version):
        raise VersionCorrupt(
            f"{folder} is version {manifest.version} of {manifest.model}, not the one that was ordered."
        )
    with _without_noise():
        from service.runtimes.tf_runtime import TensorFlowRuntime  # noqa: PLC0415  # 3 s, too many for a corrupt folder

        runtime = TensorFlowRuntime(folder, order.threads)
    check_golden(folder, manifest, runtime, order.max_batch_size)
    height, width = manifest.image_size
    for size in warm_up_sizes(order.max_batch_size):
        infer_checked(runtime, np.zeros((size, height, width, 3), np.uint8))
    return manifest, runtime


def check_golden(folder: Path, manifest: Manifest, runtime: Runtime, max_batch_size: int) -> None:
    """Compare the golden images' probabilities with the manifest's.

    Raises:
        GoldenMismatch: names the worst file and its two values.
    """
    golden = manifest.golden
    wanted = golden.probabilities.get(runtime.name)
    if wanted is None or len(wanted) != len(golden.files) or not wanted:
        raise GoldenMismatch(
            f"The manifest holds no golden probabilities for {runtime.name}; publish the version anew."
        )
    height, width = manifest.image_size
    images = [decode_resized((folder / name).read_bytes(), height, width, GOLDEN_LIMITS) for name in golden.files]
    given: list[float] = []
    for start in range(0, len(images), max_batch_size):
        given += infer_checked(runtime, np.stack(images[start : start + max_batch_size]))
    worst = max(range(len(given)), key=lambda index: abs(given[index] - wanted[index]))
    if abs(given[worst] - wanted[worst]) > golden.tolerance:
        raise GoldenMismatch(
            f"{golden.files[worst]} gives {given[worst]:.6f} on {runtime.name}; the manifest says {wanted[worst]:.6f} "
            f"within {golden.tolerance}."
        )


def infer_checked(runtime: Runtime, images: Pixels) -> list[float]:
    """(N, H, W, 3) uint8 -> N probabilities, or ValueError where the runtime gives anything else."""
    probabilities = [float(each) for each in runtime.infer(images)]
    if len(probabilities) != len(images) or not all(0.0 <= each <= 1.0 for each in probabilities):
        raise ValueError(f"{len(images)} images gave {probabilities}; expected as many probabilities in [0, 1]")
    return probabilities


def warm_up_sizes(max_batch_size: int) -> Sequence[int]:
    """1, 2, 4, ... and `max_batch_size` itself."""
    powers = [2**exponent for exponent in range(max_batch_size.bit_length()) if 2**exponent < max_batch_size]
    return [*powers, max_batch_size]


def _decode(image: EngineImage, size: tuple[int, int], limits: ImageLimits) -> Pixels | Failure:
    height, width = size
    if not image.encoded:
        return np.frombuffer(image.data, np.uint8).reshape(height, width, 3)
    try:
        return decode_resized(image.data, height, width, limits)
    except RipenError as error:
        return failure_of(error)
    except Exception:  # a decoder's surprise is an error of this image alone
        traceback.print_exc()
        return failure_of(InvalidImage("The image cannot be decoded."))


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Keep TensorFlow's start off the log unless TF_CPP_MIN_LOG_LEVEL=0 asks for it.

    TensorFlow 2.21 logs seven lines before it honours that level itself. Exceptions still reach the parent.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


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
    go_first()
    for signal_number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # these may reach the whole group, and the parent drains first
        signal.signal(signal_number, signal.SIG_IGN)
    EngineProcess(socket.socket(fileno=int(sys.argv[2]))).run()


if __name__ == "__main__":
    main()
