"""May a new version go live? Pure: labels and scores in, verdict with its reasons in words out. LINE B, judge."""

import math
from dataclasses import dataclass

import numpy as np

from contract.errors import DegenerateVersion
from contract.records import Decision, GatePolicy, Metrics, Verdict
from retrain.evaluation import Labels, Probabilities, measure

MIN_DEVIATION = 0.01
MIN_HOLDOUT = 10
SIGNIFICANCE = 0.05
BY_HAND = "Promote it by hand, with a reason, if you know better; or add labelled images and train again."


@dataclass(frozen=True)
class Scored:
    """One version's probabilities for the hold-out, (N,) in the labels' order, and its threshold.

    `version` is its number; None for the new one.
    """

    probabilities: Probabilities
    threshold: float
    version: int | None = None


@dataclass(frozen=True)
class Unmeasured:
    """The live version where it has no scores for the hold-out, and why, in words."""

    version: int
    why: str


def refuse_degenerate(probabilities: Probabilities) -> None:
    """Refuse a version whose hold-out scores do not vary: it says the same of every image.

    Raises:
        DegenerateVersion: standard deviation below 0.01.
    """
    deviation = float(np.std(probabilities))
    if not deviation >= MIN_DEVIATION:  # NaN is refused too
        raise DegenerateVersion(
            f"The new version gives nearly the same probability to every hold-out image (mean "
            f"{float(np.mean(probabilities)):.3f}, standard deviation {deviation:.4f}; at least {MIN_DEVIATION} is "
            "expected). Check the labels, add images, or train with other weights or another learning rate."
        )


def judge(labels: Labels, candidate: Scored, *, live: Scored | Unmeasured | None, policy: GatePolicy) -> Verdict:
    """Compare the new version with the live one on the very same hold-out images.

    Args:
        labels: (N,) uint8, 1 for `classes[1]`; N >= 1.
        candidate: the new version's scores.
        live: the live version's scores, or why there are none; None where nothing is live.
        policy: `always` promotes whatever the numbers say.
    """
    measured = measure(labels, candidate.probabilities, candidate.threshold)
    measured_live = measure(labels, live.probabilities, live.threshold) if isinstance(live, Scored) else None
    if policy is GatePolicy.ALWAYS:
        decision, reasons = Decision.PROMOTE, [_describe_always(measured, measured_live)]
    elif live is None:
        decision, reasons = _judge_first(labels, measured)
    elif isinstance(live, Unmeasured):
        decision, reasons = _judge_alone(measured, live)
    else:
        assert measured_live is not None, "what is scored is measured"
        decision, reasons = _compare(_discordant(labels, candidate, live), measured, measured_live)
    return Verdict(decision, policy, tuple(reasons), measured, measured_live, live.version if live else None)


def worse_by_chance(better: int, worse: int) -> float:
    """One-sided exact p-value: how likely `worse` or more of the differing images, were both versions equally good.

    Source: McNemar's exact test, the binomial tail at 1/2 over the discordant pairs.
    """
    differing = better + worse
    tail = sum(math.comb(differing, count) for count in range(worse, differing + 1))
    return tail / (1 << differing)


def _judge_first(labels: Labels, measured: Metrics) -> tuple[Decision, list[str]]:
    """Nothing is live: the new version must beat answering the commoner class always."""
    positive = int(np.sum(labels == 1))
    share = max(positive, len(labels) - positive) / len(labels)
    said = f"Right on {_share(measured)}; answering the commoner class always would be right on {share:.1%}."
    if measured.accuracy > share:
        return Decision.PROMOTE, [said, "There is no live version to compare it with, so it goes live."]
    return Decision.REJECT, [said, "That is no better, so nothing goes live. Check the labels or add images."]


def _judge_alone(measured: Metrics, live: Unmeasured) -> tuple[Decision, list[str]]:
    """Something is live, but nobody can say whether the new version is worse."""
    said = f"Right on {_share(measured)}; the live version {live.version} cannot be measured: {live.why}"
    return Decision.INCONCLUSIVE, [said, BY_HAND]


def _compare(pairs: tuple[int, int], measured: Metrics, live: Metrics) -> tuple[Decision, list[str]]:
    better, worse = pairs
    said = (
        f"Right on {_share(measured)}, the live version on {live.accuracy:.1%} of the same images. They differ on "
        f"{better + worse}: the new one is right on {better} of them, the live one on {worse}."
    )
    if measured.count < MIN_HOLDOUT:
        few = f"{measured.count} hold-out images are too few to judge by; {MIN_HOLDOUT} are the least."
        return Decision.INCONCLUSIVE, [said, few, BY_HAND]
    chance = worse_by_chance(better, worse)
    if measured.accuracy >= live.accuracy:
        return Decision.PROMOTE, [said, f"It is not worse{_luck(worse_by_chance(worse, better))}."]
    if chance < SIGNIFICANCE:
        return Decision.REJECT, [said, f"It is worse: so big a difference comes by chance with p = {chance:.3f}."]
    unclear = f"It looks worse, but so big a difference comes by chance with p = {chance:.2f}."
    return Decision.INCONCLUSIVE, [said, unclear, BY_HAND]


def _luck(chance: float) -> str:
    return f", and better beyond chance (p = {chance:.3f})" if chance < SIGNIFICANCE else ""


def _discordant(labels: Labels, candidate: Scored, live: Scored) -> tuple[int, int]:
    """How many images only the new version has right, and how many only the live one."""
    truth = labels == 1
    candidate_right = (candidate.probabilities >= candidate.threshold) == truth
    live_right = (live.probabilities >= live.threshold) == truth
    return int(np.sum(candidate_right & ~live_right)), int(np.sum(live_right & ~candidate_right))


def _describe_always(measured: Metrics, live: Metrics | None) -> str:
    compared = f", the live version on {live.accuracy:.1%} of the same images" if live else ""
    return f"The policy is `always`. Right on {_share(measured)}{compared}."


def _share(measured: Metrics) -> str:
    return f"{measured.accuracy:.1%} of {measured.count} hold-out images"
