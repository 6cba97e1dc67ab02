"""Images of a few pixels whose classes differ by their colour, as a training gets them, and a listener to it."""

import hashlib
from types import SimpleNamespace

import numpy as np

from contract.training import Epoch
from retrain.dataset import LabelledImages
from retrain.progress import Moment

SIDE = 32


class Listening:
    def __init__(self) -> None:
        self.passes: list[tuple[int, int]] = []

    def moment(self, moment: Moment) -> None: ...

    def epoch(self, epoch: Epoch, moment: Moment) -> None: ...

    def cached(self, done: int, count: int) -> None:
        self.passes.append((done, count))


def images(numbers: range) -> LabelledImages:
    """Every other one is of either class; equal numbers are equal images."""
    pixels = np.empty((len(numbers), SIDE, SIDE, 3), np.uint8)
    labels = np.array([number % 2 for number in numbers], np.uint8)
    for row, number in enumerate(numbers):
        pixels[row] = np.random.default_rng(number).integers(0, 120, (SIDE, SIDE, 3), np.uint8)
    pixels[labels == 1, :, :, 2] += 120
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]
    rows = [SimpleNamespace(id=digest[:8], digest=digest, group_id=digest, file="", label="") for digest in digests]
    return LabelledImages(pixels, labels, tuple(rows))  # type: ignore[arg-type]  # nothing else is looked at
