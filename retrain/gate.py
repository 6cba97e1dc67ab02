"""May a new version go live? Pure: labels and scores in, verdict with its reasons in words out. LINE B, judge.

`promote`, `reject`, or `inconclusive`: then the version is held, and a person may promote it. Rules: docs/gate.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from contract.comparison import Comparison
from contract.errors import DegenerateVersion
from contract.records import Decision, GatePolicy, Metrics, Verdict
from retrain import gate_words as words
from retrain.evaluation import Probabilities, measure
from retrain.holdout import (
    DEFAULTS,
    FRESH,
    Holdout,
    Scored,
    Thresholds,
    commoner_share,
    compare,
    count_only_right,
    share_right,
)
from retrain.significance import images_to_clear, images_to_differ, least_difference, mcnemar, worse_by_chance

MIN_DEVIATION = 0.01


@dataclass(frozen=True)
class Unmeasured:
    """The live version where it has no scores for the hold-out, and why, in words."""

    version: int
    why: str


@dataclass(frozen=True)
class Ruling:
    """What was decided and why; of an inconclusive one, about how many images more would help."""

    decision: Decision
    reasons: tuple[str, ...]
    more_images: int | None = None


@dataclass(frozen=True)
class Doubt:
    """Why a version is held, and about how many images more would help; None: no realistic number."""

    text: str
    more_images: int | None


@dataclass(frozen=True)
class Match:
    """A new version beside the live one on the same images; `unseen` are protected slices without any."""

    whole: Comparison
    slices: tuple[Comparison, ...]
    unseen: tuple[str, ...]
    policy: GatePolicy
    thresholds: Thresholds

    @property
    def protected(self) -> tuple[Comparison, ...]:
        return tuple(one for one in self.slices if one.protected)

    def better(self, one: Comparison) -> bool:
        """Whether the new version has more right, beyond chance."""
        return _net(one) > 0 and self._beyond_chance(one)

    def worse(self, one: Comparison) -> bool:
        """Whether it has fewer right, beyond chance."""
        return _net(one) < 0 and self._beyond_chance(one)

    def low(self, one: Comparison) -> float:
        """By how much more it is right at least; below zero mostly."""
        return least_difference(*_counts(one), one.count, significance=self.thresholds.significance)

    def _beyond_chance(self, one: Comparison) -> bool:
        return one.p_value is not None and one.p_value < self.thresholds.significance


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


def judge(
    holdout: Holdout,
    candidate: Scored,
    *,
    live: Scored | Unmeasured | None,
    policy: GatePolicy,
    thresholds: Thresholds = DEFAULTS,
    probe: Scored | None = None,
) -> Verdict:
    """Compare the new version with the live one on the very same hold-out images, each at its own threshold.

    Args:
        holdout: the images' labels and slices.
        candidate: the new version's scores.
        live: the live version's scores, or why there are none; None where nothing is live.
        policy: `always` promotes whatever the numbers say.
        probe: a linear probe's scores; a new version that is worse than it beyond chance (McNemar) is rejected.
    """
    policy = GatePolicy.BALANCED if policy is GatePolicy.NOT_WORSE else policy
    measured = measure(holdout.labels, candidate.probabilities, candidate.threshold)
    share = commoner_share(holdout.labels)
    broken = _broken_floors(holdout, candidate, probe, significance=thresholds.significance)
    if not isinstance(live, Scored):
        ruling = _rule_alone(live, broken, policy)
        facts = (words.tell_accuracy(measured), words.tell_floor(share))
        return Verdict(ruling.decision, policy, facts + ruling.reasons, measured, None, live.version if live else None)
    match = _match(holdout, candidate, live, policy, thresholds)
    ruling, measured_live = _rule(match, broken), measure(holdout.labels, live.probabilities, live.threshold)
    return Verdict(
        decision=ruling.decision,
        policy=policy,
        reasons=(*_facts(match, measured, measured_live), words.tell_floor(share), *ruling.reasons),
        candidate=measured,
        live=measured_live,
        live_version=live.version,
        comparisons=(match.whole, *match.slices),
        more_images=ruling.more_images,
    )


def rehearse(verdict: Verdict) -> Verdict:
    """The verdict of a dry run, which says that nothing goes live by it."""
    return replace(verdict, reasons=(*verdict.reasons, words.DRY_RUN))


def _match(holdout: Holdout, candidate: Scored, live: Scored, policy: GatePolicy, thresholds: Thresholds) -> Match:
    whole, *slices = compare(holdout, candidate, live, thresholds)
    seen = {one.slice for one in slices}
    unseen = tuple(name for name in thresholds.protected if "*" not in name and name not in seen)
    return Match(whole, tuple(slices), unseen, policy, thresholds)


def _facts(match: Match, measured: Metrics, live: Metrics) -> Iterator[str]:
    """What was measured, before anything is decided."""
    yield words.tell_decisions(match.whole)
    if match.whole.judged:
        yield words.tell_scores(measured, live, match.whole, match.thresholds.significance)
    if small := words.name_too_small(match.slices, match.unseen, match.thresholds.least_slice):
        yield small


def _broken_floors(
    holdout: Holdout, candidate: Scored, probe: Scored | None, *, significance: float
) -> tuple[str, ...]:
    """Why the new version should not go live, whatever is live now."""
    broken = []
    if share_right(holdout.labels, candidate) <= commoner_share(holdout.labels):
        broken.append(words.BELOW_FLOOR)
    if probe is not None:
        better, worse = count_only_right(holdout.labels, candidate, probe)
        if worse > better and (chance := mcnemar(better, worse)) < significance:
            broken.append(words.below_probe(share_right(holdout.labels, probe), chance))
    return tuple(broken)


def _rule_alone(live: Unmeasured | None, broken: tuple[str, ...], policy: GatePolicy) -> Ruling:
    """The decision where there are no scores of a live version: by the floors."""
    if policy is GatePolicy.ALWAYS:
        return Ruling(Decision.PROMOTE, (words.ALWAYS,))
    if broken:
        return Ruling(Decision.REJECT, (*broken, words.REJECTED))
    if live is None:
        return Ruling(Decision.PROMOTE, (words.ALONE,))
    return Ruling(Decision.INCONCLUSIVE, (words.tell_unmeasured(live.version, live.why), words.HELD))


def _rule(match: Match, broken: tuple[str, ...]) -> Ruling:
    """The decision beside a live version: what speaks against it, what for it, and what keeps it from going live."""
    if match.policy is GatePolicy.ALWAYS:
        return Ruling(Decision.PROMOTE, (words.ALWAYS,))
    if not match.whole.judged:
        few = words.too_few(match.whole.count, match.thresholds.least_holdout)
        return _hold([Doubt(few, match.thresholds.least_holdout - match.whole.count)])
    against = (*broken, *_inferior(match))
    if against:
        return Ruling(Decision.REJECT, (*against, words.REJECTED))
    ground = _ground(match)
    if ground is None:
        return _hold([_unclear(match)])
    doubts = [*(_missing_proofs(match) if match.policy is GatePolicy.CAUTIOUS else _signs_of_decline(match))]
    return _hold(doubts, ground) if doubts else Ruling(Decision.PROMOTE, (ground, words.PROMOTED))


def _hold(doubts: Sequence[Doubt], *grounds: str) -> Ruling:
    missing = [doubt.more_images for doubt in doubts if doubt.more_images is not None]
    more = sum(missing) if len(missing) == len(doubts) else None
    return Ruling(Decision.INCONCLUSIVE, (*grounds, *(doubt.text for doubt in doubts), words.HELD), more)


def _inferior(match: Match) -> Iterator[str]:
    """Where the new version is worse beyond chance: on the whole hold-out, on protected slices."""
    if match.worse(match.whole):
        yield words.WORSE
    yield from (words.is_worse(one) for one in match.protected if match.worse(one))


def _ground(match: Match) -> str | None:
    """What speaks for the new version; None: nothing does enough."""
    whole, limits, low = match.whole, match.thresholds, match.low(match.whole)
    if match.better(whole):
        return words.is_better(whole)
    fresh = next((one for one in match.slices if one.slice == FRESH), None)
    if low > -limits.margin and fresh and match.better(fresh):
        return words.is_better_on_fresh(fresh, low)
    if match.policy is GatePolicy.CAUTIOUS or not _surer(whole):
        return None
    if low > -limits.margin:
        return words.is_surer(low)
    small = whole.count < limits.small_holdout and _net(whole) >= -limits.margin * whole.count
    return words.looks_surer(limits.margin, limits.small_holdout) if small else None


def _unclear(match: Match) -> Doubt:
    whole = match.whole
    more = images_to_differ(*_counts(whole), whole.count, significance=match.thresholds.significance)
    return Doubt(words.is_unclear(whole, match.low(whole), more), more)


def _signs_of_decline(match: Match) -> Iterator[Doubt]:
    """`balanced`: a protected slice looks worse. Not corrected: here the harm is in missing one, not in a delay."""
    significance = match.thresholds.significance
    for one in match.protected:
        if one.judged and (chance := worse_by_chance(*_counts(one))) < significance:
            more = images_to_differ(*_counts(one), one.count, significance=significance)
            yield Doubt(words.looks_worse(one, chance, more), more)


def _missing_proofs(match: Match) -> Iterator[Doubt]:
    """`cautious`: a protected slice was not shown to be at most so much worse."""
    limits = match.thresholds
    unjudged = {one.slice: one.count for one in match.protected if not one.judged} | dict.fromkeys(match.unseen, 0)
    for name, count in unjudged.items():
        yield Doubt(words.is_unjudged(name, count, limits.least_slice), limits.least_slice - count)
    for one in match.protected:
        if one.judged and (low := match.low(one)) <= -limits.slice_margin:
            margin = limits.slice_margin
            more = images_to_clear(*_counts(one), one.count, margin=margin, significance=limits.significance)
            yield Doubt(words.may_be_worse(one, low, margin, more), more)


def _surer(one: Comparison) -> bool:
    """Whether log-loss is lower beyond chance, and AUC not: else the probabilities are only scaled better."""
    return one.log_loss is not None and one.log_loss.high < 0 and (one.auc is None or one.auc.high >= 0)


def _counts(one: Comparison) -> tuple[int, int]:
    return one.only_candidate_right, one.only_live_right


def _net(one: Comparison) -> int:
    return one.only_candidate_right - one.only_live_right
