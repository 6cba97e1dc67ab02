"""How good probabilities are: pure numpy, values in, value out. LINE B, judge."""

import numpy as np
from numpy.typing import NDArray

from contract.records import Metrics

Labels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
CLIP = 1e-7  # Keras clips its binary cross-entropy there too


def measure(labels: Labels, probabilities: Probabilities, threshold: float) -> Metrics:
    """Measure a version on labelled images.

    Args:
        labels: (N,) uint8, 1 where the image shows `classes[1]`; N >= 1.
        probabilities: (N,) P(`classes[1]`) in [0, 1].
        threshold: probability from which the answer is `classes[1]`.
    """
    positive, answered = labels == 1, probabilities >= threshold
    true_positive, false_positive = int(np.sum(positive & answered)), int(np.sum(~positive & answered))
    true_negative, false_negative = int(np.sum(~positive & ~answered)), int(np.sum(positive & ~answered))
    return Metrics(
        count=len(labels),
        accuracy=(true_positive + true_negative) / len(labels),
        log_loss=log_loss(labels, probabilities),
        auc=auc(labels, probabilities),
        precision=_share(true_positive, true_positive + false_positive),
        recall=_share(true_positive, true_positive + false_negative),
        true_positive=true_positive,
        false_positive=false_positive,
        true_negative=true_negative,
        false_negative=false_negative,
    )


def log_loss(labels: Labels, probabilities: Probabilities) -> float:
    """Mean binary cross-entropy in nats, probabilities clipped to [1e-7, 1 - 1e-7]."""
    return float(np.mean(losses(labels, probabilities)))


def losses(labels: Labels, probabilities: Probabilities) -> NDArray[np.float64]:
    """Each image's binary cross-entropy, (N,) in nats, clipped as in `log_loss`."""
    clipped = np.clip(probabilities.astype(np.float64), CLIP, 1 - CLIP)
    return -np.where(labels == 1, np.log(clipped), np.log1p(-clipped))


def auc(labels: Labels, probabilities: Probabilities) -> float | None:
    """Area under the ROC curve, ties counted half; None where a class has no image.

    Source: the Mann-Whitney U statistic (Hanley and McNeil 1982, Radiology 143:29).
    """
    positive = int(np.sum(labels == 1))
    negative = len(labels) - positive
    if not positive or not negative:
        return None
    _, group, size = np.unique(probabilities, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(size) - (size - 1) / 2  # from 1; equal scores share their middle rank
    rank_sum = float(np.sum(middle_rank[group][labels == 1]))
    return (rank_sum - positive * (positive + 1) / 2) / (positive * negative)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
