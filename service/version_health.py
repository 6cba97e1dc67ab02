"""How a version does: its answers, its own failures, its time per image. LINE A step 5: kept for `swap_watch.py`.

Only what the version itself is to blame for counts: no refused image, no full queue, no deadline.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from statistics import median

from service.engine_wire import BatchResult

KEPT_BATCHES = 1000


@dataclass(frozen=True)
class Figures:
    """How a version did since it took over.

    Attributes:
        images: answered or failed.
        failures: images that its engine failed on or that found none.
        deaths: times that its engine ended unasked.
        batches: how many of the last ones `image_s` is of.
        image_s: median time of a batch in the engine per image, in seconds; 0 without any.
    """

    images: int = 0
    failures: int = 0
    deaths: int = 0
    batches: int = 0
    image_s: float = 0.0


class Health:
    """Counts for one version. A few additions per batch."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget all: from now on it is watched."""
        self._images = self._failures = self._deaths = 0
        self._image_s: deque[float] = deque(maxlen=KEPT_BATCHES)

    def batch_ended(self, images: int, batch: "asyncio.Future[BatchResult]") -> None:
        """Count one batch that was sent to the engine."""
        if batch.cancelled():
            return
        if batch.exception() is not None:
            self.count_failed(images)
            return
        result = batch.result()
        self._images += images
        self._image_s.append((result.decode_seconds + result.infer_seconds) / images)

    def count_failed(self, images: int) -> None:
        self._images += images
        self._failures += images

    def count_death(self) -> None:
        self._deaths += 1

    def figures(self) -> Figures:
        """The counts so far."""
        image_s = median(self._image_s) if self._image_s else 0.0
        return Figures(self._images, self._failures, self._deaths, len(self._image_s), image_s)
