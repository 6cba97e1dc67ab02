"""Which images show the same picture: resized, re-encoded, mirrored, cropped. LINE B, split.

Candidates by thumbnails: each image's own and its mirror's against those of a grid of windows of every other. They are
confirmed by `alignment`. Pure: signatures in, pairs out.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.images import Pixels
from retrain.alignment import CELLS, SIDE, Window, show_same_picture, weigh

SPANS = (  # (start, length) on one axis: a crop to 80 % of a side or more lies within 2.5 % of one, or between two
    (0.0, 1.0),
    *((start, 0.9) for start in (0.0, 0.05, 0.1)),
    *((start, 0.8) for start in (0.0, 0.05, 0.1, 0.15, 0.2)),
)
WINDOWS = tuple(Window(rows, columns) for rows, columns in product(SPANS, SPANS))
SAMPLING = np.concatenate([weigh(span) for span in SPANS])  # (9 * 8, 96) float32
BLOCK = 512  # images per side of a matrix product
PLAIN = 1.0  # grey levels of deviation below which there is no picture to compare
LEAST_GREY = 0.9  # correlation; crops of photographs have 0.93 or more, one in 4000 pairs of different ones has that

Thumbs = NDArray[np.float32]


@dataclass(frozen=True)
class Fit:
    """How well a thumbnail, mirrored or not, fits its best window of another image: a correlation."""

    score: float
    mirrored: bool
    window: Window


def sign(image: Pixels) -> Pixels:
    """What an image is compared by: (H, W, 3) uint8 -> (96, 96, 3) uint8, whatever the network's size is."""
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def find_pairs(signatures: Pixels, kinds: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Find the pairs that show the same picture.

    Args:
        signatures: (N, 96, 96, 3) uint8, from `sign`.
        kinds: (N,); two images of one kind are not compared, unless it is negative.

    Returns:
        Places (first, second) with first < second, sorted.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # OpenCV works outside the interpreter lock
        candidates = list(find_candidates(signatures, kinds))
        same = threads.map(lambda pair: confirm(signatures[pair[0]], signatures[pair[1]]), candidates)
        return sorted(pair for pair, confirmed in zip(candidates, same, strict=True) if confirmed)


def find_candidates(signatures: Pixels, kinds: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """The pairs whose thumbnails fit; a block of images against a block, in 100 MB however many there are."""
    order = np.argsort(kinds, kind="stable")  # so that most blocks of one kind are skipped whole
    blocks = [order[start : start + BLOCK] for start in range(0, len(order), BLOCK)]
    for place, rows in enumerate(blocks):
        first = Thumbnails(signatures[rows])
        for columns in blocks[place:]:
            wanted = (kinds[rows][:, None] != kinds[columns]) | (kinds[rows][:, None] < 0)
            if not wanted.any():
                continue
            second = first if columns is rows else Thumbnails(signatures[columns])
            found = wanted & (np.maximum(first.fit(second), second.fit(first).T) >= LEAST_GREY)
            if columns is rows:
                found = np.triu(found, 1)
            for row, column in zip(*np.nonzero(found), strict=True):
                yield _in_order(int(rows[row]), int(columns[column]))


def confirm(one: Pixels, other: Pixels) -> bool:
    """Whether two signatures, (96, 96, 3) uint8 each, show the same picture."""
    first, second = Thumbnails(one[None]), Thumbnails(other[None])
    ways = ((one, other, first.best(second)), (other, one, second.best(first)))  # who shows a part of whom?
    return any(
        show_same_picture(np.ascontiguousarray(part[:, ::-1]) if fit.mirrored else part, whole, fit.window)
        for part, whole, fit in ways
        if fit.score >= LEAST_GREY
    )


class Thumbnails:
    """The normalised thumbnails of N signatures, (N, 96, 96, 3) uint8.

    Attributes:
        own: (2, N, 64) float32, each image's and its mirror's.
        windows: (81, N, 64) float32.
    """

    def __init__(self, signatures: Pixels) -> None:
        grey = np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in signatures]).astype(np.float32)
        cells = (SAMPLING @ grey @ SAMPLING.T).reshape(len(grey), len(SPANS), CELLS, len(SPANS), CELLS)
        windows = cells.transpose(1, 3, 0, 2, 4).reshape(len(WINDOWS), len(grey), CELLS, CELLS)
        self.windows = _normalise(windows)
        self.own = _normalise(np.stack([windows[0], windows[0, :, :, ::-1]]))

    def fit(self, other: "Thumbnails") -> Thumbs:
        """How well each, mirrored or not, fits its best window of each of the other M: (N, M) float32."""
        best = np.full((self.own.shape[1], other.own.shape[1]), -1, np.float32)
        for own, window in product(self.own, other.windows):
            np.maximum(best, own @ window.T, out=best)
        return best

    def best(self, other: "Thumbnails") -> Fit:
        """The best window of the other one, where both are of one image."""
        scores = self.own[:, 0] @ other.windows[:, 0].T  # (2, 81)
        mirrored, window = divmod(int(scores.argmax()), len(WINDOWS))
        return Fit(float(scores.max()), bool(mirrored), WINDOWS[window])


def _normalise(thumbnails: Thumbs) -> Thumbs:
    """(..., 8, 8) -> (..., 64) of mean 0 and length 1; shorter where there is no picture."""
    flat = thumbnails.reshape(*thumbnails.shape[:-2], CELLS * CELLS)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), PLAIN * CELLS), np.float32)


def _in_order(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)
