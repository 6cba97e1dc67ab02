"""Is a difference between two versions more than chance? Pure statistics on paired answers. LINE B, judge.

`better` counts the images that only the new version has right, `worse` those that only the live one has right.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from contract.comparison import Difference
from retrain.evaluation import Labels, Probabilities, log_losses

POWER = 0.8  # with which a hold-out of the size that is asked for shows a difference
MOST_IMAGES = 10_000  # more than this nobody labels for one verdict
CELLS = 2**18  # images times resamples that are worked on at once: what a processor's cache holds (measured)
HALVINGS = 40


def worse_by_chance(better: int, worse: int) -> float:
    """One-sided exact p-value: how likely `worse` or more of the differing images, were both versions equally good.

    Source: McNemar's exact test, the binomial tail at 1/2 over the discordant pairs (McNemar 1947, Psychometrika 12).
    """
    differing, term, tail = better + worse, 1, 0
    for count in range(better + 1):  # (n over count) = (n over n - count)
        tail += term
        term = term * (differing - count) // (count + 1)
    return tail / (1 << differing)


def mcnemar(better: int, worse: int) -> float:
    """Two-sided exact p-value: twice the smaller tail. Source: as `worse_by_chance`."""
    return min(1.0, 2 * worse_by_chance(min(better, worse), max(better, worse)))


def correct(p_values: Sequence[float]) -> tuple[float, ...]:
    """The p-values of a family of tests, corrected so that one false alarm in all of them is as rare as in one.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = largest
    return tuple(corrected)


def least_difference(better: int, worse: int, count: int, *, significance: float) -> float:
    """The new version's accuracy is above the live one's by at least this, at a confidence of 1 - `significance`.

    The lower end of the score interval of a paired difference of shares, which holds in small samples and needs no
    differing image. Not inferior within a margin means: above -margin.

    Args:
        count: N >= 1, all images, also those on which both agree.

    Source: Tango 1998, Statistics in Medicine 17:891.
    """
    quantile = NormalDist().inv_cdf(1 - significance)
    low, high = -1.0, (better - worse) / count
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _score(better, worse, count, middle) < quantile else (middle, high)
    return low


def _score(better: int, worse: int, count: int, difference: float) -> float:
    """Tango's statistic: how many standard errors the counts lie above a true difference of accuracy."""
    linear = -better - worse + (2 * count - better + worse) * difference
    square = linear**2 + 8 * count * worse * difference * (1 - difference)
    only_live = (math.sqrt(max(0.0, square)) - linear) / (4 * count)  # the likeliest share under that difference
    variance = count * (2 * only_live + difference * (1 - difference))
    above = better - worse - count * difference
    return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above)


def images_to_differ(better: int, worse: int, count: int, *, significance: float) -> int | None:
    """How many images more would show the difference, if it is as large as it looks; None: more than 10 000.

    Source: Connor 1987, Biometrics 43:207: the sample size of McNemar's test, here for a power of 0.8.
    """
    share, difference = (better + worse) / count, (better - worse) / count
    if not difference:
        return None
    normal = NormalDist()
    spread = normal.inv_cdf(1 - significance / 2) * math.sqrt(share)
    spread += normal.inv_cdf(POWER) * math.sqrt(share - difference**2)
    return _more((spread / difference) ** 2, count)


def images_to_clear(better: int, worse: int, count: int, *, margin: float, significance: float) -> int | None:
    """How many images more would show that the new version is not worse by `margin`; None: no realistic number.

    Source: the normal approximation of the paired difference; where no image differs, `least_difference` solved for N.
    """
    share, difference = (better + worse) / count, (better - worse) / count
    if difference <= -margin or not margin:
        return None
    normal = NormalDist()
    quantile = normal.inv_cdf(1 - significance)
    whole = (quantile + normal.inv_cdf(POWER)) ** 2 * (share - difference**2) / (difference + margin) ** 2
    return _more(max(whole, quantile**2 * (1 - margin) / margin), count)


def _more(whole: float, count: int) -> int | None:
    """How many are missing, two digits of it: the rest would be pretence."""
    more = max(1, math.ceil(whole) - count)
    step = 10 ** max(0, len(str(more)) - 2)
    return math.ceil(more / step) * step if more <= MOST_IMAGES else None


def bootstrap(
    labels: Labels, candidate: Probabilities, live: Probabilities, *, significance: float, resamples: int, seed: int
) -> tuple[Difference, Difference | None]:
    """The paired differences of log-loss and of AUC, with percentile intervals; the order of images does not matter.

    Args:
        labels: (N,) uint8, 1 for `classes[1]`; N >= 1.
        candidate, live: (N,) probabilities of the two versions for the same images.
        significance: the intervals hold at 1 - `significance`.

    Returns:
        Log-loss in nats; AUC, None where the labels are all alike.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 8 and 13.
    """
    smaller, greater = np.minimum(candidate, live), np.maximum(candidate, live)
    order = np.lexsort((candidate, greater, smaller, labels))  # by what they are: negative images first
    labels, candidate, live = labels[order], candidate[order], live[order]
    above = log_losses(labels, candidate) - log_losses(labels, live)  # (N,) float64
    areas = _Area(labels, candidate), _Area(labels, live)
    drawn: list[NDArray[np.float64]] = []
    generator, at_once = np.random.default_rng(seed), max(1, CELLS // len(labels))
    for start in range(0, resamples, at_once):
        weights = _draw(generator, len(labels), min(at_once, resamples - start))
        drawn.append(np.stack([above @ weights / len(labels), areas[0].under(weights) - areas[1].under(weights)]))
    drawn_loss, drawn_area = np.concatenate(drawn, axis=1)  # (R,) each
    loss = _interval(float(np.mean(above)), drawn_loss, significance)
    once = np.ones((len(labels), 1), np.float32)
    area = (areas[0].under(once) - areas[1].under(once)).item()
    return loss, None if math.isnan(area) else _interval(area, drawn_area, significance)


def _draw(generator: np.random.Generator, count: int, resamples: int) -> NDArray[np.float32]:
    """How often each of N images was drawn in each of R resamples: (N, R) float32."""
    places = generator.integers(0, count, (count, resamples), dtype=np.int32) * resamples  # below CELLS, or N
    drawn = np.bincount((places + np.arange(resamples)).ravel(), minlength=count * resamples)
    return drawn.reshape(count, resamples).astype(np.float32)


def _interval(value: float, drawn: NDArray[np.float64], significance: float) -> Difference:
    """Percentiles of the resamples; one without images of both classes has no AUC, and is left out."""
    low, high = np.nanquantile(drawn, (significance / 2, 1 - significance / 2))
    return Difference(value, float(low), float(high))


class _Area:
    """The area under one version's ROC curve, for many weightings of the same images.

    Args:
        labels: (N,) uint8, sorted.
        probabilities: (N,) in the labels' order.

    Source: the Mann-Whitney U statistic (Hanley and McNeil 1982, Radiology 143:29).
    """

    def __init__(self, labels: Labels, probabilities: Probabilities) -> None:
        self._negative = int(np.sum(labels == 0))
        negative, positive = probabilities[: self._negative], probabilities[self._negative :]
        self._order = np.argsort(negative)
        self._below = np.searchsorted(negative[self._order], positive, side="left")
        self._not_above = np.searchsorted(negative[self._order], positive, side="right")  # ties count half

    def under(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, R) weights -> (R,) areas; NaN where a class has no weight."""
        negative, positive = weights[: self._negative], weights[self._negative :]
        passed = np.zeros((self._negative + 1, weights.shape[1]), np.float32)  # whole numbers: exact up to 2 ** 24
        np.cumsum(negative[self._order], axis=0, out=passed[1:])
        pairs = passed[-1].astype(np.float64) * positive.sum(axis=0)
        won = np.einsum("pr,pr->r", positive, passed[self._below] + passed[self._not_above], dtype=np.float64) / 2
        areas: NDArray[np.float64] = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
        return areas
