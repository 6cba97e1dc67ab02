"""The gate's statistics beside scipy's and scikit-learn's, and beside what defines them."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm
from sklearn.metrics import log_loss, roc_auc_score

from retrain.significance import (
    MOST_IMAGES,
    bootstrap,
    correct,
    images_to_clear,
    images_to_differ,
    least_difference,
    mcnemar,
    worse_by_chance,
)

COUNTS = [(0, 0), (0, 5), (5, 0), (2, 2), (3, 9), (58, 28), (3000, 3200)]
Scores = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


@pytest.mark.parametrize(("better", "worse"), COUNTS)
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(better: int, worse: int) -> None:
    two_sided = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar(better, worse) == pytest.approx(two_sided, rel=1e-9)
    assert mcnemar(better, worse) == mcnemar(worse, better)
    one_sided = binomtest(worse, better + worse, alternative="greater").pvalue if better + worse else 1.0
    assert worse_by_chance(better, worse) == pytest.approx(one_sided, rel=1e-9)


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ((), ()),
        ((0.03,), (0.03,)),
        ((0.01, 0.04, 0.03), (0.03, 0.06, 0.06)),  # the greater ones cannot be more significant than the smaller
        ((0.5, 0.001, 0.9, 0.4), (1.0, 0.004, 1.0, 1.0)),
        ((0.02, 0.02), (0.04, 0.04)),
    ],
)
def test_holm_corrects_a_family(p_values: tuple[float, ...], corrected: tuple[float, ...]) -> None:
    assert correct(p_values) == pytest.approx(corrected)


def test_holm_keeps_the_false_alarms_of_a_whole_family() -> None:
    generator = np.random.default_rng(1)
    alarms = [min(correct(generator.random(5))) < 0.05 for _ in range(4000)]
    assert 0.04 < np.mean(alarms) < 0.06


@pytest.mark.parametrize(("better", "worse", "count"), [(58, 28, 1000), (3, 9, 60), (0, 4, 50), (5, 0, 40), (1, 1, 30)])
def test_least_difference_is_where_the_likeliest_shares_are_just_rejected(better: int, worse: int, count: int) -> None:
    low = least_difference(better, worse, count, significance=0.05)
    both = count - better - worse

    def unlikely(only_live: float) -> float:
        shares = only_live + low, only_live, 1 - 2 * only_live - low
        return -float(np.dot((better, worse, both), np.log(np.maximum(shares, 1e-300))))

    only_live = minimize_scalar(
        unlikely, bounds=(max(0.0, -low), (1 - low) / 2), method="bounded", options={"xatol": 1e-10}
    ).x
    error = np.sqrt(count * (2 * only_live + low - low**2))
    assert (better - worse - count * low) / error == pytest.approx(norm.ppf(0.95), abs=1e-3)


def test_least_difference_of_versions_that_decide_alike() -> None:
    square = norm.ppf(0.95) ** 2
    assert least_difference(0, 0, 50, significance=0.05) == pytest.approx(-square / (50 + square), abs=1e-6)
    assert least_difference(0, 0, 30, significance=0.05) > -0.1 > least_difference(0, 0, 24, significance=0.05)


def test_least_difference_holds_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    draws = generator.multinomial(200, (0.04, 0.14, 0.82), 2000)  # 10 points worse
    wrong = [least_difference(better, worse, 200, significance=0.05) > -0.1 for better, worse, _ in draws.tolist()]
    assert 0.03 < np.mean(wrong) < 0.07


@pytest.mark.parametrize(("better", "worse", "count"), [(8, 3, 100), (5, 12, 200), (20, 14, 300)])
def test_the_images_that_are_asked_for_give_the_power_that_is_meant(better: int, worse: int, count: int) -> None:
    more = images_to_differ(better, worse, count, significance=0.05)
    assert more is not None
    shares = (better / count, worse / count, 1 - (better + worse) / count)
    draws = np.random.default_rng(3).multinomial(count + more, shares, 2000).tolist()
    assert 0.75 < np.mean([mcnemar(first, second) < 0.05 for first, second, _ in draws]) < 0.85


@pytest.mark.parametrize(("better", "worse", "count"), [(1, 3, 40), (3, 3, 45), (0, 0, 20)])
def test_the_images_that_clear_a_slice_give_the_power_that_is_meant(better: int, worse: int, count: int) -> None:
    more = images_to_clear(better, worse, count, margin=0.1, significance=0.05)
    assert more is not None
    shares = (better / count, worse / count, 1 - (better + worse) / count)
    draws = np.random.default_rng(4).multinomial(count + more, shares, 500).tolist()
    cleared = [least_difference(first, second, count + more, significance=0.05) > -0.1 for first, second, _ in draws]
    assert np.mean(cleared) > 0.7


def test_no_number_is_given_where_none_is_realistic() -> None:
    assert images_to_differ(5, 5, 100, significance=0.05) is None
    assert images_to_differ(51, 50, 1000, significance=0.05) is None
    assert images_to_clear(0, 10, 100, margin=0.1, significance=0.05) is None
    assert images_to_differ(3, 1, 100, significance=0.05) in range(1, MOST_IMAGES)


def scores(count: int, seed: int = 0) -> Scores:
    """Labels and two versions' probabilities, with ties."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count).astype(np.uint8)
    noise = generator.normal(0.3, 0.2, (2, count)).round(2)
    first, second = np.clip(labels * 0.3 + noise[0], 0, 1), np.clip(labels * 0.25 + noise[1], 0, 1)
    return labels, first.astype(np.float32), second.astype(np.float32)


def test_differences_are_those_of_scikit_learn() -> None:
    labels, first, second = scores(300)
    loss, auc = bootstrap(labels, first, second, significance=0.05, resamples=100, seed=1)
    clipped = [np.clip(each.astype(np.float64), 1e-7, 1 - 1e-7) for each in (first, second)]
    assert loss.value == pytest.approx(log_loss(labels, clipped[0]) - log_loss(labels, clipped[1]))
    assert auc is not None
    assert auc.value == pytest.approx(roc_auc_score(labels, first) - roc_auc_score(labels, second))


def test_intervals_are_those_of_a_plain_bootstrap() -> None:
    labels, first, second = scores(150)
    generator = np.random.default_rng(5)
    drawn = []
    for _ in range(1500):
        places = generator.integers(0, 150, 150)
        areas = (roc_auc_score(labels[places], each[places]) for each in (first, second))
        drawn.append(next(areas) - next(areas))
    auc = bootstrap(labels, first, second, significance=0.05, resamples=4000, seed=1)[1]
    assert auc is not None
    assert (auc.low, auc.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.006)


def test_the_order_of_images_does_not_matter_and_the_roles_mirror() -> None:
    labels, first, second = scores(200)
    order = np.random.default_rng(6).permutation(200)
    how = {"significance": 0.05, "resamples": 200, "seed": 1}
    straight = bootstrap(labels, first, second, **how)
    assert bootstrap(labels[order], first[order], second[order], **how) == straight
    for one, other in zip(straight, bootstrap(labels, second, first, **how), strict=True):
        assert one is not None
        assert other is not None
        assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def test_one_class_has_no_auc_and_few_images_have_one() -> None:
    labels, first, second = scores(40)
    alike = np.zeros_like(labels)
    assert bootstrap(alike, first, second, significance=0.05, resamples=50, seed=1)[1] is None
    few = bootstrap(np.array([0, 1, 1], np.uint8), first[:3], second[:3], significance=0.05, resamples=50, seed=1)[1]
    assert few is not None
    assert -1 <= few.low <= few.high <= 1


def test_two_thousand_resamples_of_a_thousand_images_are_quick() -> None:
    labels, first, second = scores(1000)
    began = time.process_time()
    bootstrap(labels, first, second, significance=0.05, resamples=2000, seed=1)
    assert time.process_time() - began < 1
