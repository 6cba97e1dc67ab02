"""Metrics from labels and probabilities."""

import numpy as np
import pytest
from sklearn import metrics as reference

from retrain.evaluation import auc, log_loss, measure


def test_metrics_count_what_the_threshold_answers() -> None:
    labels = np.array([1, 1, 1, 0, 0], np.uint8)
    found = measure(labels, np.array([0.9, 0.6, 0.2, 0.6, 0.1], np.float32), 0.6)
    assert (found.true_positive, found.false_positive, found.true_negative, found.false_negative) == (2, 1, 1, 1)
    assert (found.count, found.accuracy) == (5, 0.6)
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_agrees_with_scikit_learn_with_and_without_ties() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200).astype(np.uint8)
    for decimals in (1, 6):
        scores = np.round(random.random(200), decimals).astype(np.float32)
        assert auc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores))
        inside = np.clip(scores, 0.01, 0.99)
        assert log_loss(labels, inside) == pytest.approx(reference.log_loss(labels, inside.astype(np.float64)))


def test_what_is_undefined_is_none_and_what_is_certain_stays_finite() -> None:
    found = measure(np.zeros(3, np.uint8), np.zeros(3, np.float32), 0.5)
    assert (found.auc, found.precision, found.recall) == (None, None, None)
    assert 0 <= found.log_loss < 1e-6
    assert measure(np.ones(1, np.uint8), np.zeros(1, np.float32), 0.5).log_loss == pytest.approx(16.1, abs=0.1)
