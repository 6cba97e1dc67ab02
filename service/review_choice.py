"""Which images are most worth a label? A pure function. Before LINE B step 1.

While labels are few, typical images teach most, later those that the model doubts, as long as they differ; a share by
chance in either case, because figures of chosen images alone would not be those of what comes.

Source: Hacohen et al., Active Learning on a Budget (2202.02794); Sener and Savarese, Active Learning for CNNs: A
Core-Set Approach (1708.00489).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

import numpy as np
from numpy.typing import NDArray

FEW_LABELS = 50  # in the smaller class; below it what the model doubts says little
CHANCE_EVERY = 7  # so 14 % are drawn by chance
DOUBTED_PER_PLACE = 4  # so many of the most doubted images are there to choose different ones from

Floats = NDArray[np.float32]


class Reason(StrEnum):
    """Why an image is proposed."""

    TYPICAL = "typical"
    UNCERTAIN = "uncertain"
    RANDOM = "random"


@dataclass(frozen=True)
class Candidates:
    """The images without a label.

    Attributes:
        looks: (N, D) float32, what they look like; only distances count.
        labelled_looks: (M, D) float32, of images that were labelled just now; M may be 0.
        doubts: (N,) how far the probability is from the threshold; the smaller, the less certain.
        draws: (N,) in [0, 1), the lot that fell to each image, for good.
    """

    looks: Floats
    labelled_looks: Floats
    doubts: NDArray[np.float64]
    draws: NDArray[np.float64]


def choose(candidates: Candidates, limit: int, *, few_labels: bool) -> list[tuple[int, Reason]]:
    """The images to label next, most useful first.

    Args:
        limit: at most so many.
        few_labels: whether the smaller class has fewer than FEW_LABELS.

    Returns:
        Positions in `candidates`, each once, and why.
    """
    reason = Reason.TYPICAL if few_labels else Reason.UNCERTAIN
    useful = _typical(candidates) if few_labels else _uncertain(candidates, DOUBTED_PER_PLACE * limit)
    drawn = iter(np.argsort(candidates.draws, kind="stable").tolist())
    chosen: dict[int, Reason] = {}
    for place in range(min(limit, len(candidates.looks))):
        by_chance = place % CHANCE_EVERY == CHANCE_EVERY - 1
        order = drawn if by_chance else useful
        chosen[next(one for one in order if one not in chosen)] = Reason.RANDOM if by_chance else reason
    return list(chosen.items())


def _typical(candidates: Candidates) -> Iterator[int]:
    """Each one brings all images nearest to one that is chosen or labelled: greedy k-medoids. First the medoid."""
    between = _distances(candidates.looks, candidates.looks)  # (N, N)
    nearest = _nearest(candidates, np.full(len(between), between.max(initial=0), np.float32))
    left = np.ones(len(between), bool)
    while left.any():
        gains = np.maximum(nearest[:, None] - between, 0).sum(axis=0)  # (N,)
        best = int(np.where(left, gains, -1).argmax())
        yield best
        left[best] = False
        nearest = np.minimum(nearest, between[best])


def _uncertain(candidates: Candidates, pool_size: int) -> Iterator[int]:
    """The least certain one, then of the `pool_size` least certain always the one most unlike those before."""
    by_doubt = np.argsort(candidates.doubts, kind="stable")
    pool, rest = by_doubt[:pool_size], by_doubt[pool_size:]
    return chain((int(pool[place]) for place in _farthest_first(candidates, pool)), rest.tolist())


def _farthest_first(candidates: Candidates, pool: NDArray[np.intp]) -> Iterator[int]:
    """Places in the pool, greedily by distance to what is chosen or labelled (k-centre); the first one as it is."""
    looks = candidates.looks[pool]
    nearest = _nearest(candidates, np.full(len(candidates.looks), np.inf, np.float32))[pool]
    left = np.ones(len(pool), bool)
    best = 0
    while left.any():
        yield best
        left[best] = False
        nearest = np.minimum(nearest, _distances(looks, looks[best : best + 1])[:, 0])
        best = int(np.where(left, nearest, -1).argmax())


def _nearest(candidates: Candidates, otherwise: Floats) -> Floats:
    """How far each image is from the nearest labelled one; `otherwise` where none is nearer. (N,) float32."""
    to_labelled = _distances(candidates.looks, candidates.labelled_looks)
    nearest: Floats = np.minimum(to_labelled.min(axis=1, initial=np.inf), otherwise)
    return nearest


def _distances(some: Floats, others: Floats) -> Floats:
    """(N, D), (M, D) -> (N, M): Euclidean."""
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None] - 2 * some @ others.T
    distances: Floats = np.sqrt(squares.clip(min=0))
    return distances
