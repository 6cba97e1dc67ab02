"""The linear probe on features whose best answer is known."""

import numpy as np
import pytest
from scipy.special import expit

from contract.errors import InvalidDataset
from retrain import probe
from retrain.evaluation import log_loss

COUNT, WIDTH = 400, 20


def drawn(seed: int, count: int = COUNT, step: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Features of which one tells the classes apart, on scales that differ by a thousand; the other ones are noise."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.uint8)
    features = random.normal(0, 1, (count, WIDTH))
    features[:, 3] += step * (labels - 0.5)
    return (features * np.logspace(-1.5, 1.5, WIDTH) + 5).astype(np.float32), labels


def names(count: int = COUNT) -> list[str]:
    return [str(number) for number in range(count)]


def test_it_answers_unseen_images_nearly_as_well_as_can_be() -> None:
    features, labels = drawn(1)
    fitted = probe.fit(features[None], labels, names(), seed=0)
    unseen, truth = drawn(2, 4000)
    noise = (unseen[:, 3] - 5) / np.logspace(-1.5, 1.5, WIDTH)[3]
    best = log_loss(truth, expit(2.0 * noise).astype(np.float32))
    assert log_loss(truth, fitted.predict(unseen)) < best + 0.05  # 20 weights of 400 images: 20 / 800 is to be expected
    assert fitted.log_loss == pytest.approx(log_loss(truth, fitted.predict(unseen)), abs=0.06)


def test_its_own_images_are_answered_by_probes_that_had_not_seen_them() -> None:
    """Pure noise, and more features than images: whoever has seen an image knows its label."""
    random = np.random.default_rng(3)
    features = random.normal(0, 1, (60, 300)).astype(np.float32)
    labels = (np.arange(60) % 2).astype(np.uint8)
    fitted = probe.fit(features[None], labels, names(60), seed=0)
    assert ((fitted.out_of_fold > 0.5) == labels).mean() < 0.75
    assert fitted.log_loss > 0.6


def test_copies_of_an_image_do_not_answer_for_each_other() -> None:
    random = np.random.default_rng(4)
    features = np.repeat(random.normal(0, 1, (30, 300)), 4, axis=0).astype(np.float32)
    labels = np.repeat(np.arange(30) % 2, 4).astype(np.uint8)
    together = probe.fit(features[None], labels, [str(number // 4) for number in range(120)], seed=0)
    apart = probe.fit(features[None], labels, names(120), seed=0)
    assert together.log_loss > 0.6
    assert apart.log_loss < 0.1


def test_wrong_labels_stand_out_of_the_folds() -> None:
    features, labels = drawn(5, step=5.0)
    wrong = np.random.default_rng(6).choice(COUNT, 20, replace=False)
    labels[wrong] ^= 1
    fitted = probe.fit(features[None], labels, names(), seed=0)
    doubt = np.abs(fitted.out_of_fold - labels)
    assert len(set(np.argsort(-doubt)[:32].tolist()) & set(wrong.tolist())) >= 18


def test_equal_seeds_give_equal_probes() -> None:
    features, labels = drawn(7)
    first, second = (probe.fit(features[None], labels, names(), seed=3) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    assert np.array_equal(first.out_of_fold, second.out_of_fold)


def test_a_class_of_one_group_cannot_be_probed() -> None:
    features, labels = drawn(8, 6)
    with pytest.raises(InvalidDataset, match="has 1 group of training images"):
        probe.fit(features[None], labels, ["a", "b", "a", "c", "a", "d"], seed=0)


def test_more_views_of_an_image_teach_what_does_not_matter() -> None:
    """One number that tells the classes apart here, by chance, is noise in every other view."""
    features, labels = drawn(9, 60)
    features[:, 5] += 400.0 * labels
    noise = np.random.default_rng(10).normal(0, 200, (3, 60)).astype(np.float32)
    views = np.repeat(features[None], 4, axis=0)
    views[1:, :, 5] += noise - 400.0 * labels
    alone, together = (probe.fit(given, labels, names(60), seed=0) for given in (views[:1], views))
    unseen, truth = drawn(11, 4000)
    assert log_loss(truth, together.predict(unseen)) < log_loss(truth, alone.predict(unseen))
