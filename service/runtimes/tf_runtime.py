"""A SavedModel on TensorFlow, float32, on the GPU where TensorFlow sees one. LINE A step 5."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contract.errors import LoadFailed
from contract.images import Pixels
from service.runtime_choice import TENSORFLOW

Call = Callable[[tf.Tensor], tf.Tensor]  # (N, H, W, 3) uint8 -> (N, 1) float32
TIMED = 5  # inferences


class TensorFlowRuntime:
    """Runs the SavedModel's `pixels` signature. Its own only seat: several threads may infer with it.

    On a GPU every batch is filled up to one of `batch_sizes`, for whose shapes kernels were chosen at warm-up, and XLA
    compiles the network where that is faster. On a processor it never was: docs/decisions.md has the figures.

    Args:
        folder: a published version.
        threads: CPU threads of one operation; 0 means one per core.
        max_batch_size: images per inference.
        as_on_gpu: whether to fill batches up and to try XLA; None: where TensorFlow sees a GPU.

    Raises:
        LoadFailed: the SavedModel has no such signature.
    """

    name = TENSORFLOW
    streams = 1
    workers = 2  # one decodes while the other infers
    clock = staticmethod(time.perf_counter)  # several threads infer, or a GPU

    def __init__(self, folder: Path, threads: int, max_batch_size: int, *, as_on_gpu: bool | None = None) -> None:
        self.batch_sizes = warm_up_sizes(max_batch_size)
        tf.config.threading.set_intra_op_parallelism_threads(threads or len(os.sched_getaffinity(0)))
        devices = tf.config.list_physical_devices("GPU")
        for device in devices:
            tf.config.experimental.set_memory_growth(device, True)  # several versions share one GPU
        tf.config.experimental.enable_tensor_float_32_execution(False)  # 10 bits of mantissa are not `f32`
        self._model = tf.saved_model.load(str(folder))  # the signature's variables live only as long as this does
        if "pixels" not in self._model.signatures:
            names = ", ".join(sorted(self._model.signatures))
            raise LoadFailed(f"{folder} has the signatures {names}; expected `pixels` among them.")
        pixels = self._model.signatures["pixels"]
        self._call: Call = lambda images: pixels(image=images)["probability"]
        self._fills_up = bool(devices) if as_on_gpu is None else as_on_gpu
        self.notes: tuple[str, ...] = ()
        if self._fills_up:
            _, height, width, _ = pixels.structured_input_signature[1]["image"].shape
            images = tf.zeros((max_batch_size, height, width, 3), tf.uint8)
            self._call, self.notes = faster(self._call, tf.function(self._call, jit_compile=True), images)

    def seat(self) -> "TensorFlowRuntime":
        """What one thread infers with."""
        return self

    def infer(self, images: Pixels, *, alone: bool) -> NDArray[np.float32]:  # noqa: ARG002  # it shares the cores itself
        """(N, H, W, 3) uint8 -> (N,) float32 in [0, 1]."""
        filled = fill_up(images, self.batch_sizes) if self._fills_up else images
        answer = self._call(tf.constant(filled))  # (N or more, 1) float32
        return np.asarray(answer.numpy()[: len(images), 0], dtype=np.float32)  # (N,) float32


def faster(plain: Call, compiled: Call, images: tf.Tensor) -> tuple[Call, tuple[str, ...]]:
    """The one that takes less time for these images, and why not XLA's where it is the other one."""
    try:
        compiled_s = _time(compiled, images)
    except tf.errors.OpError as error:
        return plain, (f"XLA cannot compile the network: {str(error).splitlines()[0][:300]}",)
    plain_s = _time(plain, images)
    if compiled_s < plain_s:
        return compiled, ()
    return plain, (f"XLA takes {1000 * compiled_s:.1f} ms for {len(images)} images instead of {1000 * plain_s:.1f}",)


def _time(call: Call, images: tf.Tensor) -> float:
    """Seconds of one inference, once it is compiled."""
    call(images).numpy()
    seconds = []
    for _ in range(TIMED):
        started = time.perf_counter()
        call(images).numpy()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def fill_up(images: Pixels, sizes: tuple[int, ...]) -> Pixels:
    """Black images behind the N given ones, up to the next of the ascending `sizes`; the last holds any N."""
    missing = next(size for size in sizes if size >= len(images)) - len(images)
    return np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)]) if missing else images


def warm_up_sizes(max_batch_size: int) -> tuple[int, ...]:
    """1, 2, 4, ... and `max_batch_size` itself."""
    powers = [2**exponent for exponent in range(max_batch_size.bit_length()) if 2**exponent < max_batch_size]
    return (*powers, max_batch_size)
