"""Calibration on probabilities whose right answer is known."""

import numpy as np
import pytest
from scipy.special import expit, logit

from retrain import calibration


def drawn(count: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and answers of a network whose logits are the true ones times a scale, plus a shift."""
    random = np.random.default_rng(seed)
    truth = random.normal(0, 2, count)
    labels = (random.random(count) < expit(truth)).astype(np.uint8)
    return labels, expit(scale * truth + shift).astype(np.float32)


def scaled(found: calibration.Calibration, probabilities: np.ndarray) -> np.ndarray:
    return expit(found.scale * logit(probabilities.astype(np.float64)) + found.shift).astype(np.float32)


def test_an_overconfident_network_is_scaled_back() -> None:
    found = calibration.fit(*drawn(150, 1, scale=3.0))
    assert found.scale == pytest.approx(1 / 3, rel=0.35)
    assert found.shift == 0.0
    labels, probabilities = drawn(20_000, 2, scale=3.0)
    before, after = (calibration.measure(labels, each) for each in (probabilities, scaled(found, probabilities)))
    assert after.calibration_error < before.calibration_error / 3
    assert after.log_loss < before.log_loss
    assert after.brier < before.brier


def test_with_enough_images_a_shift_is_found_too() -> None:
    found = calibration.fit(*drawn(2000, 3, scale=2.0, shift=2.0))
    assert found.scale == pytest.approx(0.5, rel=0.2)
    assert found.shift == pytest.approx(-1.0, abs=0.25)


def test_a_network_that_is_right_already_is_left_alone_or_hardly_moved() -> None:
    moved = [calibration.fit(*drawn(60, seed)).scale for seed in range(40)]
    assert sum(scale == 1.0 for scale in moved) >= 20
    assert all(0.4 < scale < 2.5 for scale in moved)


@pytest.mark.parametrize("count", [0, 1, 49])
def test_too_few_images_change_nothing_and_that_is_said(count: int) -> None:
    found = calibration.fit(*drawn(count, 4, scale=5.0))
    assert (found.scale, found.shift, found.count) == (1.0, 0.0, count)
    assert f"{count} calibration images; 50" in found.said


def test_one_class_alone_changes_nothing() -> None:
    found = calibration.fit(np.ones(80, np.uint8), np.full(80, 0.7, np.float32))
    assert found.scale == 1.0
    assert "of both classes" in found.said


def test_images_that_are_told_apart_without_an_error_do_not_lead_to_infinity() -> None:
    labels = (np.arange(80) % 2).astype(np.uint8)
    found = calibration.fit(labels, np.where(labels == 1, 0.9, 0.1).astype(np.float32))
    assert 1.0 <= found.scale <= np.exp(calibration.WIDEST) + 1e-6


def test_the_calibration_error_is_what_it_is_defined_as() -> None:
    labels = np.array([0, 1, 1, 1], np.uint8)
    probabilities = np.array([0.1, 0.1, 0.9, 1.0], np.float32)
    assert calibration.calibration_error(labels, probabilities, bins=2) == pytest.approx((0.8 + 0.1) / 4)
    assert calibration.calibration_error(labels, labels.astype(np.float32)) == 0.0
