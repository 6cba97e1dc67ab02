"""Thresholds by goal, on answers whose best threshold is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from contract.recipe import BEST, Goal, Recipe
from retrain import threshold


def drawn(count: int = 4000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated answers."""
    random = np.random.default_rng(seed)
    answers = expit(random.normal(-1, 2, count)).astype(np.float32)
    return (random.random(count) < answers).astype(np.uint8), answers


def by(goal: Goal, **changes: float) -> Recipe:
    return replace(BEST, goal=goal, **changes)


def test_the_recipes_own_threshold_stands() -> None:
    found = threshold.choose(replace(BEST, threshold=0.3, goal=Goal.F1), *drawn())
    assert (found.threshold, found.said) == (0.3, "The recipe's own.")


def test_accuracy_asks_for_half_and_costs_for_their_ratio() -> None:
    nothing = np.empty(0, np.uint8), np.empty(0, np.float32)
    assert threshold.choose(BEST, *nothing).threshold == 0.5
    found = threshold.choose(by(Goal.COST, false_positive_cost=1, false_negative_cost=4), *nothing)
    assert found.threshold == pytest.approx(0.2)
    labels, answers = drawn()
    costs = {
        each: np.sum((answers >= each) & (labels == 0)) + 4 * np.sum((answers < each) & (labels == 1))
        for each in (0.05, 0.1, 0.2, 0.35, 0.5, 0.8)
    }
    assert min(costs, key=costs.__getitem__) == 0.2


def test_f1_is_about_the_highest_there_is() -> None:
    def f1(each: float, labels: np.ndarray, answers: np.ndarray) -> float:
        hits = np.sum((answers >= each) & (labels == 1))
        return float(2 * hits / (np.sum(answers >= each) + labels.sum()))

    found = threshold.choose(by(Goal.F1), *drawn())
    unseen = drawn(20_000, 2)
    best = max(f1(each, *unseen) for each in np.linspace(0.02, 0.98, 97))
    assert f1(found.threshold, *unseen) > best - 0.01
    assert found.threshold < 0.45  # not what accuracy would take


def test_recall_at_a_precision_keeps_the_precision() -> None:
    found = threshold.choose(by(Goal.RECALL, least_precision=0.9), *drawn())
    labels, answers = drawn(20_000, 3)
    taken = answers >= found.threshold
    assert labels[taken].mean() == pytest.approx(0.9, abs=0.02)


def test_a_precision_that_cannot_be_had_answers_never() -> None:
    labels, _ = drawn()
    worst = np.where(labels == 1, 0.4, 0.6).astype(np.float32)
    assert threshold.choose(by(Goal.RECALL, least_precision=0.99), labels, worst).threshold > 0.99


def test_too_few_images_of_a_class_leave_half() -> None:
    labels = np.array([1] * 49 + [0] * 500, np.uint8)
    found = threshold.choose(by(Goal.F1), labels, labels.astype(np.float32))
    assert found.threshold == 0.5
    assert "49 images of the rarer class are too few" in found.said


def test_equal_seeds_choose_equally() -> None:
    assert threshold.choose(by(Goal.F1), *drawn()) == threshold.choose(by(Goal.F1), *drawn())
