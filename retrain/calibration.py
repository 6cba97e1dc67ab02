"""How sure a version may be: logits are scaled until what it calls 80 % happens 80 % of the time. LINE B, calibrate.

Pure: labels and probabilities of images that nothing was trained or chosen on, in; a scale and a shift, out. They go
into the weights of the last layer, so that every runtime answers calibrated probabilities and a swap changes both.
Source: Guo et al. 2017 (temperature), Platt 1999 (scale and shift).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from contract.training import Calibration, Reliability
from retrain.evaluation import CLIP, Labels, Probabilities, log_loss

LEAST_SCALED, LEAST_SHIFTED = 50, 200  # images for a scale; for a shift too
BINS = 15
FOLDS = 5
WIDEST = 3.0  # the scale lies in [e^-3, e^3]

Logits = NDArray[np.float64]


@dataclass(frozen=True)
class _Line:
    """logit -> scale * logit + shift."""

    scale: float = 1.0
    shift: float = 0.0

    def answer(self, logits: Logits) -> Probabilities:
        return np.asarray(expit(self.scale * logits + self.shift), np.float32)


def fit(labels: Labels, probabilities: Probabilities) -> Calibration:
    """Fit a scale, and with enough images a shift; keep them only if images that were left out are answered better.

    Args:
        labels: (N,) uint8, 1 for `classes[1]`; any N.
        probabilities: (N,) the network's, in [0, 1].
    """
    before = measure(labels, probabilities) if len(labels) else None
    if len(labels) < LEAST_SCALED or len(set(labels.tolist())) < 2:
        few = f"{len(labels)} calibration images; {LEAST_SCALED}, of both classes, are the least to calibrate by."
        return Calibration(1.0, 0.0, len(labels), few, before, before)
    logits = logit(np.clip(probabilities.astype(np.float64), CLIP, 1 - CLIP))
    shifted = len(labels) >= LEAST_SHIFTED
    left_out = np.empty(len(labels), np.float32)
    for rows in _folds(labels):
        others = np.setdiff1d(np.arange(len(labels)), rows)
        left_out[rows] = _fit(labels[others], logits[others], shifted).answer(logits[rows])
    gained = log_loss(labels, probabilities) - log_loss(labels, left_out)
    if gained <= 0:
        said = f"By {len(labels)} images: left-out ones are answered no better ({gained:.4f} nats); left as it is."
        return Calibration(1.0, 0.0, len(labels), said, before, before)
    line = _fit(labels, logits, shifted)
    said = f"By {len(labels)} images: left-out ones are answered better ({gained:.4f} nats)."
    return Calibration(line.scale, line.shift, len(labels), said, before, measure(labels, line.answer(logits)))


def measure(labels: Labels, probabilities: Probabilities) -> Reliability:
    """Log-loss, Brier score and calibration error of (N,) probabilities, N >= 1."""
    return Reliability(
        log_loss=log_loss(labels, probabilities),
        brier=float(np.mean((probabilities - labels) ** 2)),
        calibration_error=calibration_error(labels, probabilities),
    )


def calibration_error(labels: Labels, probabilities: Probabilities, bins: int = BINS) -> float:
    """Expected calibration error: how far answers and shares of `classes[1]` lie apart, in bins of equal width.

    Source: Naeini et al. 2015.
    """
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    counts = np.bincount(places, minlength=bins)
    answered = np.bincount(places, probabilities, minlength=bins)
    happened = np.bincount(places, labels, minlength=bins)
    return float(np.abs(answered - happened).sum() / max(1, counts.sum()))


def _folds(labels: Labels) -> list[NDArray[np.int64]]:
    """Every fifth image of either class, in an order that does not depend on anything else."""
    order = np.argsort(labels, kind="stable")
    return [order[start::FOLDS] for start in range(FOLDS)]


def _fit(labels: Labels, logits: Logits, shifted: bool) -> _Line:
    """The line with the lowest log-loss."""

    def loss(values: NDArray[np.float64]) -> float:
        margin = (2.0 * labels - 1.0) * (np.exp(values[0]) * logits + (values[1] if shifted else 0.0))
        return float(np.mean(np.logaddexp(0, -margin)))

    free = [(-WIDEST, WIDEST), (None, None)] if shifted else [(-WIDEST, WIDEST)]
    found = minimize(loss, np.zeros(len(free)), method="L-BFGS-B", bounds=free)
    return _Line(float(np.exp(found.x[0])), float(found.x[1]) if shifted else 0.0)
