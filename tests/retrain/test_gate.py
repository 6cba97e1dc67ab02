"""The gate's verdicts, as a table."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from simulated_pair import Errors, PairMaker, as_versions

from contract.errors import DegenerateVersion
from contract.records import Decision, GatePolicy, Verdict
from retrain.evaluation import Labels
from retrain.gate import Unmeasured, judge, refuse_degenerate, rehearse
from retrain.holdout import FRESH, Holdout, Mask, Scored, Thresholds, slice_holdout

CLASSES = ("apple", "orange")
QUICK = Thresholds(resamples=200)
PROMOTE, REJECT, INCONCLUSIVE = Decision.PROMOTE, Decision.REJECT, Decision.INCONCLUSIVE
CAUTIOUS, BALANCED, ALWAYS = GatePolicy.CAUTIOUS, GatePolicy.BALANCED, GatePolicy.ALWAYS
Places = range | list[int]


def alternating(count: int) -> Labels:
    return (np.arange(count) % 2).astype(np.uint8)


def scored(labels: Labels, wrong: Places, version: int | None = None, *, sure: float = 0.9) -> Scored:
    """Right but at `wrong`, and so sure everywhere, give or take a little."""
    right = np.ones(len(labels), bool)
    right[list(wrong)] = False
    of_truth = np.where(right, sure, 1 - sure) + np.linspace(-0.02, 0.02, len(labels))
    return Scored(np.where(labels == 1, of_truth, 1 - of_truth).astype(np.float32), 0.5, version)


def at(count: int, places: Places) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[list(places)] = True
    return mask


@dataclass(frozen=True)
class Case:
    """Two versions on `count` images of alternating classes; `sure` makes log-loss."""

    name: str
    count: int
    wrong: Places
    live_wrong: Places
    balanced: Decision
    cautious: Decision
    words: str  # of `balanced`
    sure: tuple[float, float] = (0.9, 0.9)
    slices: tuple[tuple[str, Places], ...] = ()

    def judge(self, policy: GatePolicy) -> Verdict:
        labels = alternating(self.count)
        holdout = slice_holdout(labels, CLASSES, None)
        named = {name: at(self.count, places) for name, places in self.slices}
        live = scored(labels, self.live_wrong, 4, sure=self.sure[1])
        thresholds = replace(QUICK, protected=("class:*", "tag:night"))
        return judge(
            replace(holdout, slices={**holdout.slices, **named}),
            scored(labels, self.wrong, sure=self.sure[0]),
            live=live,
            policy=policy,
            thresholds=thresholds,
        )


NIGHT = ("tag:night", range(40))
TABLE = [
    Case("superior", 200, range(5), range(20, 40), PROMOTE, PROMOTE, "better beyond chance", slices=(NIGHT,)),
    Case("inferior", 200, range(20), range(20, 25), REJECT, REJECT, "It is worse beyond chance.", slices=(NIGHT,)),
    Case("identical", 200, range(5), range(5), INCONCLUSIVE, INCONCLUSIVE, "No realistic number", slices=(NIGHT,)),
    Case("looks better", 200, range(4), range(10, 20), INCONCLUSIVE, INCONCLUSIVE, "About 410 more", slices=(NIGHT,)),
    Case("looks worse", 200, range(9), range(5), INCONCLUSIVE, INCONCLUSIVE, "It looks worse", slices=(NIGHT,)),
    Case("log-loss", 100, range(2), range(2), PROMOTE, INCONCLUSIVE, "log-loss is lower", (0.9, 0.7)),
    Case("log-loss, one fewer right", 60, range(3), range(2), PROMOTE, INCONCLUSIVE, "not lower by", (0.9, 0.7)),
    Case("log-loss, two fewer right", 60, range(4), range(2), INCONCLUSIVE, INCONCLUSIVE, "looks worse", (0.9, 0.7)),
    Case("log-loss, not inferior", 1000, range(9), range(8), PROMOTE, INCONCLUSIVE, "at most 0.4 points", (0.9, 0.7)),
    Case(
        "log-loss, not shown to be not inferior",
        1000,
        range(50),
        range(50, 85),
        INCONCLUSIVE,
        INCONCLUSIVE,
        "looks worse",
        (0.9, 0.7),
    ),
    Case("few", 19, [], range(9), INCONCLUSIVE, INCONCLUSIVE, "19 hold-out images are too few to judge by; 20 are"),
    Case("enough", 20, [], range(9), PROMOTE, INCONCLUSIVE, "below 30 images: class:apple (10), class:orange (10)"),
    Case("no better than the commoner class", 40, range(20), range(40), REJECT, REJECT, "It is no better than that."),
    Case(
        "worse on a protected slice",
        400,
        range(20),
        range(40, 120),
        REJECT,
        REJECT,
        "on the protected slice tag:night: right on 50.0% of 40 images, the live version on 100.0% (p < 0.0001",
        slices=(NIGHT,),
    ),
    Case("worse on one class", 400, range(0, 30, 2), range(41, 161, 2), REJECT, REJECT, "slice class:apple", slices=()),
    Case(
        "worse on a slice that nobody protects",
        400,
        range(20),
        range(40, 120),
        PROMOTE,
        INCONCLUSIVE,  # nobody could see the protected one
        "better beyond chance",
        slices=(("tag:rain", range(40)),),
    ),
    Case(
        "looks worse on a protected slice",
        400,
        range(5),
        range(40, 120),
        INCONCLUSIVE,
        INCONCLUSIVE,
        "But it looks worse on the protected slice tag:night",
        slices=(NIGHT,),
    ),
    Case(
        "a protected slice that is only not shown to be well",
        400,
        range(3),
        range(40, 120),
        PROMOTE,
        INCONCLUSIVE,
        "better beyond chance",
        slices=(NIGHT,),
    ),
    Case(
        "a protected slice too small to judge",
        400,
        [],
        range(40, 120),
        PROMOTE,
        INCONCLUSIVE,
        "below 30 images: tag:night (29)",
        slices=(("tag:night", range(29)),),
    ),
    Case("a protected slice without images", 400, [], range(80), PROMOTE, INCONCLUSIVE, "images: tag:night (0)."),
    Case(
        "better on what is new",
        1000,
        range(100, 120),
        range(18),
        PROMOTE,
        PROMOTE,
        "better beyond chance on the 50 images that are newer",
        slices=(NIGHT, (FRESH, range(50))),
    ),
    Case(
        "better on what is new, but perhaps inferior",
        1000,
        range(100, 140),
        range(18),
        REJECT,
        REJECT,
        "It is worse beyond chance.",
        slices=(NIGHT, (FRESH, range(50))),
    ),
]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_table(case: Case) -> None:
    for policy, decision in ((BALANCED, case.balanced), (CAUTIOUS, case.cautious), (ALWAYS, PROMOTE)):
        verdict = case.judge(policy)
        said = " ".join(verdict.reasons)
        assert (verdict.decision, verdict.policy) == (decision, policy), said
        assert (verdict.live_version, verdict.comparisons[0].count) == (4, case.count)
        assert ("`ripen promote`" in said) == (decision is INCONCLUSIVE), said
        if policy is BALANCED:
            assert case.words in said, said
    assert case.judge(GatePolicy.NOT_WORSE) == case.judge(BALANCED)


def test_the_first_reason_has_the_figures() -> None:
    verdict = TABLE[0].judge(BALANCED)
    assert verdict.reasons[0] == (
        "Right on 97.5% of 200 hold-out images, the live version on 90.0% of them. They differ on 25: the new one is "
        "right on 20 of these, the live one on 5; by chance alone, p = 0.0041."
    )
    assert verdict.reasons[1].startswith(
        "Log-loss 0.165, the live version's 0.339 (less is better; difference -0.173, 95%"
    )


def test_the_missing_images_are_counted_per_doubt() -> None:
    by_name = {case.name: case for case in TABLE}
    assert by_name["few"].judge(BALANCED).more_images == 1
    assert by_name["looks better"].judge(BALANCED).more_images == 410
    assert by_name["identical"].judge(BALANCED).more_images is None
    assert by_name["enough"].judge(CAUTIOUS).more_images == 20 + 20 + 30  # both classes, and tag:night
    doubted = by_name["looks worse on a protected slice"].judge(BALANCED)
    assert f"About {doubted.more_images} more labelled images of tag:night in the hold-out" in " ".join(doubted.reasons)
    assert by_name["superior"].judge(BALANCED).more_images is None


@pytest.mark.parametrize("policy", [CAUTIOUS, BALANCED])
@pytest.mark.parametrize(("ones", "wrong", "decision"), [(5, range(4), PROMOTE), (9, range(1), REJECT)])
def test_the_first_version_passes_by_the_floors(
    policy: GatePolicy, ones: int, wrong: range, decision: Decision
) -> None:
    labels = np.array([1] * ones + [0] * (10 - ones), np.uint8)
    verdict = judge(Holdout(labels), scored(labels, wrong), live=None, policy=policy)
    assert (verdict.decision, verdict.live, verdict.live_version, verdict.comparisons) == (decision, None, None, ())
    assert f"always would be right on {ones / 10:.1%}" in verdict.reasons[1]


@pytest.mark.parametrize(("wrong", "decision"), [(range(20), REJECT), (range(11), PROMOTE)])
def test_a_linear_probe_is_a_floor(wrong: range, decision: Decision) -> None:
    labels = alternating(100)
    probe, candidate, live = scored(labels, range(8)), scored(labels, wrong), scored(labels, range(20, 60), 1)
    first = judge(Holdout(labels), candidate, live=None, policy=BALANCED, probe=probe)
    second = judge(Holdout(labels), candidate, live=live, policy=BALANCED, probe=probe, thresholds=QUICK)
    assert (first.decision, second.decision) == (decision, decision)
    for verdict in (first, second):
        assert ("A linear probe on the same images is right on 92.0%" in " ".join(verdict.reasons)) == (
            decision is REJECT
        )


def test_nothing_replaces_a_live_version_that_cannot_be_measured_unless_always() -> None:
    labels, live = alternating(100), Unmeasured(4, "its manifest is missing.")
    verdict = judge(Holdout(labels), scored(labels, []), live=live, policy=BALANCED)
    assert (verdict.decision, verdict.live, verdict.live_version) == (INCONCLUSIVE, None, 4)
    assert "The live version 4 cannot be measured: its manifest is missing." in verdict.reasons
    bad = judge(Holdout(labels), scored(labels, range(60)), live=live, policy=BALANCED)
    assert bad.decision is REJECT
    always = judge(Holdout(labels), scored(labels, []), live=live, policy=ALWAYS)
    assert (always.decision, always.live_version) == (PROMOTE, 4)


def test_each_version_answers_at_its_own_threshold() -> None:
    labels = alternating(100)
    live = Scored(scored(labels, []).probabilities * 0.2, 0.1, 1)
    verdict = judge(Holdout(labels), scored(labels, []), live=live, policy=BALANCED, thresholds=QUICK)
    assert verdict.live is not None
    assert verdict.live.accuracy == verdict.comparisons[0].live_accuracy == 1.0


def test_better_scaled_probabilities_do_not_hide_a_worse_ranking() -> None:
    """Both decide alike and the live version is far too sure, but how sure the new one is says nothing."""
    labels, generator = alternating(600), np.random.default_rng(1)
    margins = np.where(labels == 1, 1.2, -1.2) + generator.normal(0, 1, 600)
    live = 1 / (1 + np.exp(-15 * margins))
    new = 1 / (1 + np.exp(-1.2 * np.sign(margins) * generator.permutation(np.abs(margins))))
    versions = Scored(new.astype(np.float32), 0.5), Scored(live.astype(np.float32), 0.5, 1)
    verdict = judge(Holdout(labels), versions[0], live=versions[1], policy=BALANCED)
    whole = verdict.comparisons[0]
    assert whole.log_loss is not None
    assert whole.auc is not None
    assert whole.log_loss.high < 0
    assert whole.auc.high < 0
    assert verdict.decision is INCONCLUSIVE


def test_a_dry_run_says_so_and_changes_nothing_else() -> None:
    verdict = TABLE[0].judge(BALANCED)
    assert rehearse(verdict) == replace(verdict, reasons=(*verdict.reasons, rehearse(verdict).reasons[-1]))
    assert "dry run" in rehearse(verdict).reasons[-1]


def drawn(seed: int) -> tuple[Holdout, Scored, Scored]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 150).astype(np.uint8)
    versions = as_versions(PairMaker(Errors(0.12, 0.12, 0.06)).draw(generator, labels))
    return slice_holdout(labels, CLASSES, at(150, range(110, 150))), *versions


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("policy", [CAUTIOUS, BALANCED])
def test_the_order_of_images_does_not_matter(seed: int, policy: GatePolicy) -> None:
    holdout, candidate, live = drawn(seed)
    order = np.random.default_rng(seed).permutation(150)
    shuffled = Holdout(holdout.labels[order], {name: mask[order] for name, mask in holdout.slices.items()})
    again = [replace(one, probabilities=one.probabilities[order]) for one in (candidate, live)]
    one = judge(holdout, candidate, live=live, policy=policy, thresholds=QUICK)
    other = judge(shuffled, again[0], live=again[1], policy=policy, thresholds=QUICK)
    assert replace(other, candidate=one.candidate, live=one.live) == one  # their log-losses are sums, rounded otherwise


@pytest.mark.parametrize("seed", range(5))
def test_swapped_roles_mirror_the_comparisons(seed: int) -> None:
    holdout, candidate, live = drawn(seed)
    forth = judge(holdout, candidate, live=live, policy=CAUTIOUS, thresholds=QUICK).comparisons
    back = judge(holdout, live, live=candidate, policy=CAUTIOUS, thresholds=QUICK).comparisons
    assert [(one.slice, one.count) for one in forth] == [
        ("all", 150),
        ("class:apple", int(np.sum(holdout.labels == 0))),
        ("class:orange", int(np.sum(holdout.labels == 1))),
        (FRESH, 40),
    ]
    for one, other in zip(forth, back, strict=True):
        mirrored = replace(
            other,
            candidate_accuracy=other.live_accuracy,
            live_accuracy=other.candidate_accuracy,
            only_candidate_right=other.only_live_right,
            only_live_right=other.only_candidate_right,
            log_loss=one.log_loss,  # test_significance mirrors the intervals
            auc=one.auc,
        )
        assert mirrored == one


def test_swapped_roles_mirror_the_verdict() -> None:
    labels = alternating(200)
    better, worse = scored(labels, range(5), 1), scored(labels, range(20, 50), 1)
    for policy in (CAUTIOUS, BALANCED):
        holdout = slice_holdout(labels, CLASSES, None)
        assert judge(holdout, better, live=worse, policy=policy, thresholds=QUICK).decision is PROMOTE
        assert judge(holdout, worse, live=better, policy=policy, thresholds=QUICK).decision is REJECT


@pytest.mark.parametrize("scores", [np.full(50, 0.7), np.linspace(0.5, 0.51, 50), np.full(50, np.nan)])
def test_scores_that_do_not_vary_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(DegenerateVersion, match="standard deviation"):
        refuse_degenerate(scores.astype(np.float32))


def test_scores_that_vary_pass() -> None:
    refuse_degenerate(np.linspace(0, 1, 50, dtype=np.float32))
