"""An engine process with an empty runtime: nothing is decoded or inferred, all else is service/engine_process.py's.

Started by a service that `front_cost.py` has told to start this module as its engine.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contract import artifact
from contract.images import Pixels
from service import engine_loading, engine_process
from service.engine_loading import Loaded
from service.engine_wire import Capacity, LoadOrder

PIXELS = np.zeros((1, 1, 3), np.uint8)
WORKERS, IMAGE_S = 4, 0.0001
CAPACITY = Capacity(
    "empty",
    workers=WORKERS,
    in_flight=WORKERS + engine_loading.MORE_BATCHES,
    batch_size=engine_loading.together(IMAGE_S),
    image_seconds=IMAGE_S,
)


class EmptyRuntime:
    """Answers 0.5; its own seat."""

    name = "empty"
    notes: tuple[str, ...] = ()
    batch_sizes = (1,)
    clock = staticmethod(time.process_time)
    workers = streams = WORKERS

    def seat(self) -> "EmptyRuntime":
        """What one worker infers with."""
        return self

    def infer(self, images: Pixels, *, alone: bool) -> Sequence[float]:  # noqa: ARG002  # as a seat has it
        """N images -> N probabilities."""
        return [0.5] * len(images)


def load_version(order: LoadOrder) -> Loaded:
    """The folder is verified as ever, and nothing of it is loaded."""
    manifest = artifact.verify(Path(order.folder), order.manifest_sha256)
    return Loaded(manifest, EmptyRuntime(), CAPACITY)


if __name__ == "__main__":
    engine_process.load_version = load_version
    engine_process._decode = lambda *_: PIXELS
    engine_process.main()
