"""Planted label errors are found, and few others are suspected."""

import numpy as np
from small_pictures import images

from retrain import probe
from retrain.label_errors import find_suspects, rank


def planted(seed: int, count: int = 400, share: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that tell the classes apart fairly well, labels of which some are flipped, and which."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.uint8)
    features = random.normal(0, 1, (1, count, 30)).astype(np.float32)
    features[0, :, :4] += 0.9 * (2.0 * labels[:, None] - 1)
    wrong = random.choice(count, round(share * count), replace=False)
    labels[wrong] ^= 1
    return features, labels, wrong


def test_most_planted_errors_are_at_the_head_of_the_list() -> None:
    found = []
    for seed in range(5):
        features, labels, wrong = planted(seed)
        fitted = probe.fit(features, labels, [str(row) for row in range(len(labels))], seed=0)
        order, _ = rank(labels, fitted.out_of_fold)
        found.append(len(set(order[: round(0.08 * len(labels))].tolist()) & set(wrong.tolist())) / len(wrong))
    assert np.mean(found) >= 0.6


def test_who_is_contradicted_as_surely_as_the_other_class_is_known_is_suspected() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1], np.uint8)
    answers = np.array([0.1, 0.2, 0.95, 0.9, 0.8, 0.4], np.float32)
    order, suspected = rank(labels, answers)
    assert order[:2].tolist() == [2, 5]
    assert suspected.tolist() == [False, False, True, False, False, True]  # apples are known by 0.58, oranges by 0.7


def test_suspects_are_named_and_bounded() -> None:
    pictures = images(range(50))
    answers = 1 - pictures.labels.astype(np.float32)  # every label is contradicted
    found = find_suspects(pictures, answers)
    assert len(found) == 4
    assert found[0].example == pictures.examples[0].id
    assert (found[0].label, found[0].probability) == (pictures.examples[0].label, 1.0)
    assert find_suspects(pictures, pictures.labels.astype(np.float32)) == ()
