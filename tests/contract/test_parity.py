"""contract.parity: what is measured, and what the policy refuses."""

from dataclasses import replace

import numpy as np
import pytest

from contract.parity import Parity, ParityPolicy, compare, objections

SAME = Parity(1000, 0.0, 0.0, 0, 0.0, 0.9, 0.9)
POLICY = ParityPolicy()


def test_two_runtimes_are_compared_image_by_image() -> None:
    reference = np.array([0.1, 0.45, 0.5, 0.9], np.float32)
    given = np.array([0.1, 0.55, 0.4, 0.7], np.float32)
    measured = compare(reference, given, [0, 1, 1, 1], threshold=0.5)
    assert measured == Parity(
        images=4,
        max_difference=pytest.approx(0.2),
        mean_difference=pytest.approx(0.1),
        flipped=2,
        furthest_flip=pytest.approx(0.05),
        accuracy=0.75,
        reference_accuracy=0.75,
    )


def test_nothing_flips_where_the_answers_are_the_same() -> None:
    answers = np.array([0.5, 0.2], np.float32)
    assert compare(answers, answers, [1, 0], threshold=0.5) == Parity(2, 0.0, 0.0, 0, 0.0, 1.0, 1.0)


def test_a_probability_at_the_threshold_is_the_positive_class() -> None:
    measured = compare(np.array([0.7], np.float32), np.array([0.69], np.float32), [1], threshold=float(np.float32(0.7)))
    assert (measured.flipped, measured.furthest_flip, measured.accuracy) == (1, 0.0, 0.0)


@pytest.mark.parametrize(
    ("parity", "words"),
    [
        (SAME, []),
        (replace(SAME, flipped=5, furthest_flip=0.1, max_difference=0.9), []),
        (replace(SAME, flipped=6), ["6 of 1000 decisions flipped; at most 5"]),
        (replace(SAME, images=3, flipped=1), []),
        (replace(SAME, images=3, flipped=2), ["2 of 3 decisions flipped; at most 1"]),
        (replace(SAME, flipped=1, furthest_flip=0.11), ["0.110 from the threshold; at most 0.1"]),
        (replace(SAME, accuracy=0.891), []),
        (replace(SAME, accuracy=0.889), ["accuracy 0.889 instead of 0.900"]),
        (replace(SAME, accuracy=0.5, flipped=9, furthest_flip=0.4), ["9 of 1000", "0.400 from", "accuracy 0.500"]),
    ],
)
def test_each_broken_rule_is_one_sentence(parity: Parity, words: list[str]) -> None:
    said = objections(parity, POLICY)
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))


def test_the_policy_can_be_widened() -> None:
    parity = replace(SAME, accuracy=0.88, flipped=20, furthest_flip=0.3)
    assert objections(parity, ParityPolicy(flipped_share=0.02, flip_distance=0.3, accuracy_errors=2.2)) == ()
