"""What is proposed for a label: typical ones first, then doubted ones that differ, a share by chance always."""

import numpy as np
import pytest

from service.review_choice import CHANCE_EVERY, Candidates, Floats, Reason, choose


def candidates(looks: Floats, doubts: object = None, labelled: Floats | None = None) -> Candidates:
    """Images whose lots are drawn in their order."""
    count = len(looks)
    return Candidates(
        looks=looks.astype(np.float32),
        labelled_looks=np.zeros((0, looks.shape[1]), np.float32) if labelled is None else labelled.astype(np.float32),
        doubts=np.zeros(count) if doubts is None else np.asarray(doubts, float),
        draws=np.arange(count) / max(1, count),
    )


def clusters(*sizes: int) -> Floats:
    """So many images around far places, each cluster's own middle first."""
    rng = np.random.default_rng(7)
    each = []
    for number, size in enumerate(sizes):
        around = rng.normal(0, 1, (size - 1, 4))
        each.append(np.vstack([np.zeros((1, 4)), around - around.mean(axis=0)]) + 100 * number)
    return np.vstack(each).astype(np.float32)


def test_typical_images_are_the_middles_of_clusters_the_largest_first() -> None:
    looks = clusters(10, 40, 20)
    chosen = choose(candidates(looks), 3, few_labels=True)
    assert [reason for _, reason in chosen] == [Reason.TYPICAL] * 3
    middles = [0, 10, 50]
    for (position, _), middle in zip(chosen[:1], [10], strict=True):
        assert np.linalg.norm(looks[position] - looks[middle]) < 2
    found = {min(middles, key=lambda middle: np.linalg.norm(looks[position] - looks[middle])) for position, _ in chosen}
    assert found == set(middles)


def test_what_looks_like_a_labelled_image_waits() -> None:
    looks = clusters(30, 10)
    first = choose(candidates(looks), 1, few_labels=True)[0][0]
    assert first < 30
    again = choose(candidates(looks, labelled=looks[first : first + 1]), 1, few_labels=True)[0][0]
    assert again >= 30


def test_uncertain_images_are_near_the_threshold_and_differ() -> None:
    looks = np.repeat(np.arange(5.0)[:, None], 20, axis=0)  # five sights, each twenty times
    doubts = np.tile(np.linspace(0.01, 0.4, 20), 5)
    doubts[47] = 0.0
    chosen = [position for position, _ in choose(candidates(looks, doubts), 5, few_labels=False)]
    assert chosen[0] == 47
    assert {float(looks[position, 0]) for position in chosen} == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert max(doubts[chosen]) <= np.sort(doubts)[19]  # of the 4 x 5 least certain


def test_a_labelled_sight_is_doubted_last() -> None:
    looks = np.array([[0.0], [0.0], [10.0], [20.0]])
    doubts = [0.0, 0.1, 0.1, 0.1]
    order = [position for position, _ in choose(candidates(looks, doubts, np.array([[10.0]])), 4, few_labels=False)]
    assert order == [0, 3, 1, 2]


@pytest.mark.parametrize("few_labels", [True, False])
def test_every_seventh_is_drawn_whatever_the_rest(few_labels: bool) -> None:
    looks = np.random.default_rng(1).normal(0, 1, (60, 8))
    chosen = choose(candidates(looks, np.linspace(0, 0.5, 60)[::-1].copy()), 28, few_labels=few_labels)
    drawn = [place for place, (_, reason) in enumerate(chosen) if reason is Reason.RANDOM]
    assert drawn == [6, 13, 20, 27]
    assert 0.1 <= 1 / CHANCE_EVERY <= 0.2
    usual = {position for position, reason in chosen if reason is not Reason.RANDOM}
    by_lot = [position for position, reason in chosen if reason is Reason.RANDOM]
    assert by_lot == sorted(by_lot)  # the lowest lots that were not chosen before
    assert set(range(by_lot[-1])) <= usual | set(by_lot)


@pytest.mark.parametrize("few_labels", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 30])
def test_each_image_once_and_no_more_than_there_are(count: int, few_labels: bool) -> None:
    looks = np.zeros((count, 8))  # all alike
    chosen = [position for position, _ in choose(candidates(looks), 20, few_labels=few_labels)]
    assert len(chosen) == len(set(chosen)) == min(20, count)
