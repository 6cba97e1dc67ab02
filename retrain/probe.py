"""The linear probe: logistic regression on the frozen backbone's features. LINE B, train.

Fitted in seconds and to the optimum, it is the floor that a fine-tuned network has to beat, and its out-of-fold answers
say which labels look wrong. Source: Kornblith et al. 2019, "Do Better ImageNet Models Transfer Better?", its fixed
features; L2 chosen by cross-validated log-loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from contract.errors import InvalidDataset
from retrain.evaluation import Labels, Probabilities, log_loss

Features = NDArray[np.float32]  # (V, N, F): views, images, numbers
STRENGTHS = tuple(10.0**exponent for exponent in np.arange(-4, 1.5, 0.5))  # sklearn's C: the inverse of L2's weight
FOLDS = 5
ITERATIONS = 2000


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        weights, bias: (F,) float64 and a number: P(`classes[1]`) = sigmoid(features @ weights + bias).
        strength: the chosen inverse weight of L2, of standardized features.
        out_of_fold: (N,) what probes that had not seen an image, nor one of its group, answered for it.
        log_loss: of these answers, in nats.
    """

    weights: NDArray[np.float64]
    bias: float
    strength: float
    out_of_fold: Probabilities
    log_loss: float

    def predict(self, features: NDArray[np.float32]) -> Probabilities:
        """(N, F) features -> (N,) float32 P(`classes[1]`)."""
        return np.asarray(expit(features @ self.weights + self.bias), np.float32)


def fit(
    features: Features,
    labels: Labels,
    groups: Sequence[str],
    *,
    seed: int,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """Fit a probe.

    Args:
        features: (V, N, F) float32, pooled, of V views of each image; the first one is the image itself.
        labels: (N,) uint8, 0 or 1, of at least two groups each.
        groups: N names; images of one group are never on both sides of a fold.
        seed: of the folds.
        strengths: that are tried.

    Raises:
        InvalidDataset: a class has fewer than two groups, so that nothing can be left out.
    """
    least = min(len({group for group, label in zip(groups, labels, strict=True) if label == each}) for each in (0, 1))
    if least < 2:
        raise InvalidDataset(
            f"A class has {least} group of training images: all look the same, or were given one group. The recipe "
            "`best` needs at least two; add different images, or train with the recipe `guide`."
        )
    folds = StratifiedGroupKFold(min(FOLDS, least), shuffle=True, random_state=seed)
    splits = list(folds.split(features[0], labels, groups))
    views, images, numbers = features.shape
    with threadpool_limits(1):  # 400 images of 256 numbers: threads that wait for each other made it 10 times slower
        answers = {strength: _out_of_fold(features[0], labels, splits, strength) for strength in strengths}
        strength = min(answers, key=lambda each: log_loss(labels, answers[each]))
        pipeline = _pipeline(strength / views).fit(features.reshape(views * images, numbers), np.tile(labels, views))
    scaler, regression = pipeline[0], pipeline[-1]
    weights = regression.coef_[0] / scaler.scale_  # (F,) float64
    bias = float(regression.intercept_[0] - scaler.mean_ @ weights)
    return Probe(weights, bias, strength, answers[strength], log_loss(labels, answers[strength]))


def _out_of_fold(features: NDArray[np.float32], labels: Labels, splits: list[object], strength: float) -> Probabilities:
    answers = cross_val_predict(_pipeline(strength), features, labels, cv=splits, method="predict_proba")
    return np.asarray(answers[:, 1], np.float32)


def _pipeline(strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=ITERATIONS))
