"""How an engine loads a version: verify, choose a runtime, compare golden images, warm up, measure. LINE B step 5.

A runtime whose golden images do not answer as they did when the version was made is passed over for the next one.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from contract import artifact, openvino_model
from contract.artifact import Manifest
from contract.errors import GoldenMismatch, LoadFailed, VersionCorrupt
from contract.images import ImageLimits, Pixels, decode_resized
from contract.openvino_model import Precision
from contract.ports import Runtime, Seat
from contract.records import RuntimeChoice
from service.engine_wire import Capacity, LoadOrder
from service.runtime_choice import Choice, Here, choose, name_of

GOLDEN_LIMITS = ImageLimits(2**40, 2**40)  # golden images are pinned by digest; a lowered limit must not refuse them
MORE_BATCHES = 2  # than workers: a worker that is done finds its next batch in the socket
MOST_TOGETHER, TOGETHER_S = 4, 0.016  # images that wait cross in fours: each crossing wakes two busy processes up
GOOD_SHARE = 0.95  # of the best rate is enough for a smaller batch
GPU = Path("/dev/nvidiactl")


@dataclass(frozen=True)
class Loaded:
    """A version that is ready to answer."""

    manifest: Manifest
    runtime: Runtime
    capacity: Capacity


def load_version(order: LoadOrder) -> Loaded:
    """Verify the folder, load it, compare the golden images, warm up every batch size.

    Raises:
        VersionCorrupt, GoldenMismatch: the folder is not what was published, or does not answer as it did then.
        LoadFailed: the runtime that the settings force is not there, or cannot load it.
    """
    folder = Path(order.folder)
    manifest = artifact.verify(folder, order.manifest_sha256)
    if (manifest.model, manifest.version) != (order.model, order.version):
        raise VersionCorrupt(
            f"{folder} is version {manifest.version} of {manifest.model}, not the one that was ordered."
        )
    choice = choose(order.wish, _here(folder, order), manifest.parity)
    notes = list(choice.notes)
    for precision in choice.precisions:
        try:
            runtime = _open(folder, precision, order)
            decode_s = check_golden(folder, manifest, runtime)
        except Exception as error:
            if precision is choice.precisions[-1]:
                raise
            notes.append(f"{name_of(precision)}: {str(error).splitlines()[0]}")
            continue
        warm = warm_up(runtime, manifest.image_size, decode_s=decode_s, most=order.max_batch_size)
        return Loaded(manifest, runtime, replace(warm, notes=(*notes, *runtime.notes)))
    raise LoadFailed(_nothing(choice))


def check_golden(folder: Path, manifest: Manifest, runtime: Runtime) -> float:
    """Compare the golden images' probabilities with the manifest's; return the processor seconds of decoding one.

    Raises:
        GoldenMismatch: names the worst file and its two values.
    """
    golden = manifest.golden
    wanted = golden.probabilities.get(runtime.name)
    if wanted is None or len(wanted) != len(golden.files) or not wanted:
        raise GoldenMismatch(
            f"The manifest holds no golden probabilities for {runtime.name}; publish the version anew."
        )
    tolerance = openvino_model.GOLDEN_TOLERANCES.get(runtime.name, golden.tolerance)
    height, width = manifest.image_size
    started = time.thread_time()
    images = [decode_resized((folder / name).read_bytes(), height, width, GOLDEN_LIMITS) for name in golden.files]
    decode_s = (time.thread_time() - started) / len(images)
    given = _answer_all(runtime, images)
    worst = max(range(len(given)), key=lambda index: abs(given[index] - wanted[index]))
    if abs(given[worst] - wanted[worst]) > tolerance:
        raise GoldenMismatch(
            f"{golden.files[worst]} gives {given[worst]:.6f} on {runtime.name}; the manifest says {wanted[worst]:.6f} "
            f"within {tolerance}."
        )
    return decode_s


def warm_up(runtime: Runtime, size: tuple[int, int], *, decode_s: float, most: int) -> Capacity:
    """Infer every batch size twice, the second time with a watch, and choose the batches' size.

    Args:
        size: (height, width) of the network's input.
        decode_s: what decoding one image takes, on one core.
        most: images in a batch.
    """
    seat, seconds = runtime.seat(), dict[int, float]()
    for count in runtime.batch_sizes:
        images = np.zeros((count, *size, 3), np.uint8)
        infer_checked(seat, images, alone=True)
        infer_checked(seat, images, alone=False)
        started = runtime.clock()
        infer_checked(seat, images, alone=False)
        seconds[count] = runtime.clock() - started
    fastest = best_batch(seconds)
    infer_s = seconds[fastest] / fastest
    return Capacity(
        runtime.name,
        workers=runtime.workers,
        in_flight=runtime.workers + MORE_BATCHES,
        batch_size=min(most, max(fastest, together(infer_s + decode_s))),
        image_seconds=infer_s / runtime.streams + decode_s / len(os.sched_getaffinity(0)),
    )


def best_batch(seconds: Mapping[int, float]) -> int:
    """The smallest batch size whose images per second are nearly the best, from the seconds that each size took."""
    rates = {count: count / took for count, took in seconds.items()}
    return min(count for count, rate in rates.items() if rate >= GOOD_SHARE * max(rates.values()))


def together(image_s: float) -> int:
    """How many images should cross to the engine at once though it infers them one by one; `image_s` on one core."""
    return max(1, min(MOST_TOGETHER, int(TOGETHER_S / image_s)))


def infer_checked(seat: Seat, images: Pixels, *, alone: bool) -> list[float]:
    """(N, H, W, 3) uint8 -> N probabilities, or ValueError where the runtime gives anything else."""
    probabilities = [float(each) for each in seat.infer(images, alone=alone)]
    if len(probabilities) != len(images) or not all(0.0 <= each <= 1.0 for each in probabilities):
        raise ValueError(f"{len(images)} images gave {probabilities}; expected as many probabilities in [0, 1]")
    return probabilities


def _here(folder: Path, order: LoadOrder) -> Here:
    """What this machine and the folder offer; OpenVINO is not even imported where it cannot serve."""
    stored = [one for one in Precision if openvino_model.model_file(folder, one).exists()]
    gpu = GPU.exists()
    forced = order.wish.runtime is RuntimeChoice.OPENVINO
    wanted = stored and order.wish.runtime is not RuntimeChoice.TENSORFLOW and (forced or not gpu)
    return Here(gpu, openvino_model.offered() if wanted else (), stored)


def _open(folder: Path, precision: Precision | None, order: LoadOrder) -> Runtime:
    """Load the network; each runtime is imported only where it is used."""
    if precision is not None:
        from service.runtimes.openvino_runtime import OpenVinoRuntime  # noqa: PLC0415  # 50 MB

        return OpenVinoRuntime(folder, precision, order.threads)
    with _without_noise():
        from service.runtimes.tf_runtime import TensorFlowRuntime  # noqa: PLC0415  # 400 MB and 3 s

        return TensorFlowRuntime(folder, order.threads, order.max_batch_size)


def _answer_all(runtime: Runtime, images: list[Pixels]) -> list[float]:
    """Each image's probability: in batches as large as the runtime takes, alone and not in turns."""
    seat, most = runtime.seat(), runtime.batch_sizes[-1]
    given: list[float] = []
    for start in range(0, len(images), most):
        given += infer_checked(seat, np.stack(images[start : start + most]), alone=start % 2 == 0)
    return given


def _nothing(choice: Choice) -> str:
    return f"What RIPEN_RUNTIME and RIPEN_PRECISION ask for is not there. {'. '.join(choice.notes)}."


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
