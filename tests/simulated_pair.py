"""Two versions' scores for one hold-out, drawn so that their accuracies and the errors they share are known."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import multivariate_normal

from retrain.evaluation import Labels
from retrain.holdout import Scored

STEEPNESS = 3.0  # logits per standard deviation: log-loss is about 0.26 at an accuracy of 0.9


@dataclass(frozen=True)
class Errors:
    """Shares of images that the new version, the live one, and both have wrong."""

    candidate: float
    live: float
    both: float

    @property
    def correlation(self) -> float:
        """Of two normal margins whose negative parts overlap so."""
        quantiles = [NormalDist().inv_cdf(self.candidate), NormalDist().inv_cdf(self.live)]

        def overlap(correlation: float) -> float:
            spread = [[1.0, correlation], [correlation, 1.0]]
            return float(multivariate_normal([0, 0], spread, allow_singular=True).cdf(quantiles)) - self.both

        return float(brentq(overlap, 0.0, 0.999))


class PairMaker:
    """Draws images on which both versions err as told."""

    def __init__(self, errors: Errors) -> None:
        self._shift = -np.array([NormalDist().inv_cdf(errors.candidate), NormalDist().inv_cdf(errors.live)])
        self._correlation = errors.correlation

    def draw(self, generator: np.random.Generator, labels: Labels) -> NDArray[np.float32]:
        """(N, 2) probabilities of the positive class, of the new version and the live one."""
        margins = generator.standard_normal((len(labels), 2))
        margins[:, 1] = self._correlation * margins[:, 0] + np.sqrt(1 - self._correlation**2) * margins[:, 1]
        signed = np.where(labels[:, None] == 1, 1, -1) * STEEPNESS * (margins + self._shift)
        return (1 / (1 + np.exp(-signed))).astype(np.float32)


def as_versions(probabilities: NDArray[np.float32]) -> tuple[Scored, Scored]:
    """The new version and the live one, number 1, each at 0.5."""
    return Scored(probabilities[:, 0], 0.5), Scored(probabilities[:, 1], 0.5, 1)
