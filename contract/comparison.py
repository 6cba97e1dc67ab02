"""What the gate measured of a new version beside the live one, on the hold-out and on slices of it. LINE B, judge."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """The new version's figure minus the live one's, and the interval in which the true difference may lie.

    The interval is a paired bootstrap's, at 1 - RIPEN_GATE_SIGNIFICANCE.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Both versions on the same images, each at its own threshold.

    `p_value` is the exact two-sided McNemar test's, of slices after Holm's correction. It and the differences are None
    where the slice has too few images to judge by (`judged` is false); `auc` also where it has images of one class.
    """

    slice: str  # "all" is the whole hold-out
    count: int
    judged: bool
    protected: bool  # the new version must not be worse here
    candidate_accuracy: float
    live_accuracy: float
    only_candidate_right: int
    only_live_right: int
    p_value: float | None = None
    log_loss: Difference | None = None
    auc: Difference | None = None
