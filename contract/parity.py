"""How a faster runtime answers beside TensorFlow f32, and whether that is near enough to serve. Both lines: pure.

The retrain side measures a `Parity` per runtime and precision on hold-out images and keeps it in the manifest; the
service holds it against its `ParityPolicy` when it chooses what serves a version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Parity:
    """One runtime's answers beside TensorFlow f32's, for the same hold-out images.

    Attributes:
        images: how many were compared.
        max_difference, mean_difference: of the probabilities, absolute, in [0, 1].
        flipped: images whose decision at the version's threshold is another one.
        furthest_flip: of those, the largest distance of TensorFlow's probability from the threshold; 0 without any.
        accuracy, reference_accuracy: on these images, of the runtime and of TensorFlow f32, in [0, 1].
    """

    images: int
    max_difference: float
    mean_difference: float
    flipped: int
    furthest_flip: float
    accuracy: float
    reference_accuracy: float


@dataclass(frozen=True)
class ParityPolicy:
    """What a runtime may differ.

    Attributes:
        flipped_share: share of flipped decisions in [0, 1]; one image is always allowed.
        flip_distance: how far from the threshold a flipped image may be, in [0, 1].
        accuracy_errors: how many standard errors of the reference accuracy the accuracy may be lower.
    """

    flipped_share: float = 0.005
    flip_distance: float = 0.1
    accuracy_errors: float = 1.0


def compare(
    reference: NDArray[np.float32], given: NDArray[np.float32], labels: Sequence[int], *, threshold: float
) -> Parity:
    """Measure one runtime.

    Args:
        reference: (N,) float32, TensorFlow f32's P(`classes[1]`); N at least 1.
        given: (N,) float32, the runtime's, for the same images.
        labels: N times 0 or 1, the index of the image's class.
        threshold: of the version, in [0, 1].
    """
    difference = np.abs(given.astype(np.float64) - reference)  # (N,) float64
    before, after = reference >= threshold, given >= threshold  # (N,) bool
    flips = before != after
    truth = np.asarray(labels, dtype=bool)  # (N,) bool
    return Parity(
        images=len(reference),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        flipped=int(flips.sum()),
        furthest_flip=float(np.abs(reference[flips] - threshold).max(initial=0.0)),
        accuracy=float((after == truth).mean()),
        reference_accuracy=float((before == truth).mean()),
    )


def objections(parity: Parity, policy: ParityPolicy) -> tuple[str, ...]:
    """Why the runtime must not serve the version, one sentence per broken rule; none: it may."""
    said = []
    allowed = max(1, int(policy.flipped_share * parity.images))
    if parity.flipped > allowed:
        said.append(f"{parity.flipped} of {parity.images} decisions flipped; at most {allowed} may")
    if parity.furthest_flip > policy.flip_distance:
        said.append(
            f"a decision flipped {parity.furthest_flip:.3f} from the threshold; at most {policy.flip_distance:g} may"
        )
    error = sqrt(parity.reference_accuracy * (1 - parity.reference_accuracy) / parity.images)
    if parity.accuracy < parity.reference_accuracy - policy.accuracy_errors * error:
        said.append(f"accuracy {parity.accuracy:.3f} instead of {parity.reference_accuracy:.3f}")
    return tuple(said)
