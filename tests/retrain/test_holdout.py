"""Slices of a hold-out, and two versions compared on each."""

import numpy as np
import pytest

from contract.settings import Settings
from retrain.holdout import DEFAULTS, Holdout, Scored, Thresholds, compare, slice_holdout
from retrain.significance import mcnemar

LABELS = np.array([0, 1, 1, 0] * 25, np.uint8)


def test_the_defaults_are_those_of_the_settings() -> None:
    assert Thresholds.of(Settings.from_environment({})) == DEFAULTS
    variables = {"RIPEN_GATE_PROTECTED": "fresh, tag:night,", "RIPEN_GATE_MARGIN": "0.01"}
    set_by_hand = Thresholds.of(Settings.from_environment(variables))
    assert (set_by_hand.protected, set_by_hand.margin) == (("fresh", "tag:night"), 0.01)


def test_every_model_has_a_slice_per_class_and_one_of_what_is_new() -> None:
    fresh = np.arange(100) > 90
    sliced = slice_holdout(LABELS, ("apple", "[x] orange"), fresh)
    assert list(sliced.slices) == ["class:apple", "class:[x] orange", "fresh"]
    assert (sliced.slices["class:[x] orange"] == (LABELS == 1)).all()
    assert (sliced.slices["fresh"] == fresh).all()
    assert "fresh" not in slice_holdout(LABELS, ("apple", "orange"), None).slices


@pytest.mark.parametrize(
    ("protected", "name", "is_protected"),
    [
        ("class:*", "class:[x] orange", True),
        ("class:[x] orange", "class:[x] orange", True),
        ("class:[x]*", "class:x orange", False),
        ("tag:*", "class:tag:", False),
        ("*", "fresh", True),
        ("fresh", "freshly", False),
    ],
)
def test_protected_slices_are_named_or_meant_by_a_star(protected: str, name: str, is_protected: bool) -> None:
    assert Thresholds(protected=(protected,)).protects(name) is is_protected


def test_slices_are_compared_by_themselves_and_corrected_together() -> None:
    right, wrong = np.where(LABELS == 1, 0.9, 0.1), np.where(LABELS == 1, 0.2, 0.8)
    live = np.where(np.arange(100) < 10, wrong, right)
    slices = {"first": np.arange(100) < 40, "last": np.arange(100) >= 40, "tiny": np.arange(100) < 29}
    slices["empty"] = np.zeros(100, bool)
    versions = Scored(right.astype(np.float32), 0.5), Scored(live.astype(np.float32), 0.5, 1)
    whole, first, last, tiny = compare(Holdout(LABELS, slices), *versions, Thresholds(resamples=100))
    assert [one.slice for one in (whole, first, last, tiny)] == ["all", "first", "last", "tiny"]
    assert (first.count, first.candidate_accuracy, first.live_accuracy) == (40, 1.0, 0.75)
    assert (first.only_candidate_right, first.only_live_right, last.only_candidate_right) == (10, 0, 0)
    assert (whole.p_value, first.p_value, last.p_value) == (mcnemar(10, 0), 2 * mcnemar(10, 0), 1.0)  # two are judged
    assert (tiny.judged, tiny.p_value, tiny.log_loss, tiny.auc) == (False, None, None, None)
    assert last.log_loss is not None
    assert (last.log_loss.low, last.log_loss.high) == (0, 0)
