"""A version's network on OpenVINO, one image after the other. LINE A step 5.

It is compiled twice: for one image on all cores, and for one image per core. The first is up to twice as fast while
nothing else is under way, the second gives 5-40 % more images per second (docs/decisions.md has the figures).
"""

import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.images import Pixels
from contract.openvino_model import OpenVinoModel, Precision, runtime_name

MORE_WORKERS = 2  # than streams: they decode while the others infer


class OpenVinoRuntime:
    """Runs the network of a version's `openvino/` folder on the CPU.

    Args:
        folder: a published version.
        precision: one that this processor has.
        threads: CPU threads in all; 0 means one per core.
    """

    batch_sizes: tuple[int, ...] = (1,)
    notes: tuple[str, ...] = ()
    clock = staticmethod(time.process_time)  # one thread infers, and the process may be paused while it loads

    def __init__(self, folder: Path, precision: Precision, threads: int) -> None:
        cores = threads or len(os.sched_getaffinity(0))
        self.name = runtime_name(precision)
        self.streams = cores
        self.workers = cores + MORE_WORKERS
        self._shared = OpenVinoModel(folder, precision, streams=cores, threads=cores)
        self._whole = OpenVinoModel(folder, precision, streams=1, threads=cores) if cores > 1 else self._shared

    def seat(self) -> "OpenVinoSeat":
        """What one thread infers with."""
        return OpenVinoSeat(self._shared, self._whole)


class OpenVinoSeat:
    """One inference at a time."""

    def __init__(self, shared: OpenVinoModel, whole: OpenVinoModel) -> None:
        self._shared = shared.request()
        self._whole = whole.request()

    def infer(self, images: Pixels, *, alone: bool) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 -> (N,) float32 in [0, 1]; `alone`: nothing else is under way, so take every core."""
        request = self._whole if alone else self._shared
        return np.concatenate([request.infer(images[place : place + 1]) for place in range(len(images))])
