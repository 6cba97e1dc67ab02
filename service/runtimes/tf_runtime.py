"""A SavedModel on TensorFlow, float32, on the GPU where TensorFlow sees one. LINE A step 5."""

import os
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contract.errors import LoadFailed
from contract.images import Pixels
from service.runtime_choice import TENSORFLOW


class TensorFlowRuntime:
    """Runs the SavedModel's `pixels` signature. Its own only seat: several threads may infer with it.

    Args:
        folder: a published version.
        threads: CPU threads of one operation; 0 means one per core.
        max_batch_size: images per inference.

    Raises:
        LoadFailed: the SavedModel has no such signature.
    """

    name = TENSORFLOW
    streams = 1
    workers = 2  # one decodes while the other infers
    clock = staticmethod(time.perf_counter)  # several threads infer, or a GPU

    def __init__(self, folder: Path, threads: int, max_batch_size: int) -> None:
        self.batch_sizes = warm_up_sizes(max_batch_size)
        tf.config.threading.set_intra_op_parallelism_threads(threads or len(os.sched_getaffinity(0)))
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)  # several versions share one GPU
        tf.config.experimental.enable_tensor_float_32_execution(False)  # 10 bits of mantissa are not `f32`
        self._model = tf.saved_model.load(str(folder))  # the signature's variables live only as long as this does
        if "pixels" not in self._model.signatures:
            names = ", ".join(sorted(self._model.signatures))
            raise LoadFailed(f"{folder} has the signatures {names}; expected `pixels` among them.")
        self._pixels = self._model.signatures["pixels"]

    def seat(self) -> "TensorFlowRuntime":
        """What one thread infers with."""
        return self

    def infer(self, images: Pixels, *, alone: bool) -> NDArray[np.float32]:  # noqa: ARG002  # it shares the cores itself
        """(N, H, W, 3) uint8 -> (N,) float32 in [0, 1]."""
        answer = self._pixels(image=tf.constant(images))["probability"]  # (N, 1) float32
        return np.asarray(answer.numpy()[:, 0], dtype=np.float32)  # (N,) float32


def warm_up_sizes(max_batch_size: int) -> tuple[int, ...]:
    """1, 2, 4, ... and `max_batch_size` itself."""
    powers = [2**exponent for exponent in range(max_batch_size.bit_length()) if 2**exponent < max_batch_size]
    return (*powers, max_batch_size)
