"""The gate's verdicts, as a table."""

import numpy as np
import pytest

from contract.errors import DegenerateVersion
from contract.records import Decision, GatePolicy
from retrain.gate import Scored, Unmeasured, judge, refuse_degenerate, worse_by_chance

BALANCED = np.array([0, 1] * 50, np.uint8)


def scored(labels: np.ndarray, wrong: range | list[int], version: int | None = None) -> Scored:
    """Scores that are right on all images but those at `wrong`."""
    answers = labels.astype(np.float32)
    for place in wrong:
        answers[place] = 1 - answers[place]
    return Scored(answers * 0.8 + 0.1, 0.5, version)


@pytest.mark.parametrize(
    ("wrong", "live_wrong", "decision", "words"),
    [
        (range(5), range(5), Decision.PROMOTE, "not worse."),
        (range(5), range(7), Decision.PROMOTE, "not worse."),
        (range(5), range(40, 60), Decision.PROMOTE, "better beyond chance"),
        (range(7), range(5), Decision.INCONCLUSIVE, "by chance with p = 0.25"),
        (range(20), range(5), Decision.REJECT, "It is worse"),
    ],
)
def test_not_worse_compares_on_the_same_images(wrong: range, live_wrong: range, decision: Decision, words: str) -> None:
    verdict = judge(
        BALANCED, scored(BALANCED, wrong), live=scored(BALANCED, live_wrong, 4), policy=GatePolicy.NOT_WORSE
    )
    assert verdict.decision is decision
    assert words in " ".join(verdict.reasons)
    assert verdict.live_version == 4
    assert verdict.live is not None
    assert verdict.live.accuracy == pytest.approx(1 - len(live_wrong) / 100)
    assert f"{verdict.candidate.accuracy:.1%} of 100 hold-out images" in verdict.reasons[0]
    assert ("by hand" in verdict.reasons[-1]) == (decision is Decision.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("ones", "wrong", "decision"), [(5, range(4), Decision.PROMOTE), (9, range(1), Decision.REJECT)]
)
def test_the_first_version_must_beat_the_commoner_class(ones: int, wrong: range, decision: Decision) -> None:
    labels = np.array([1] * ones + [0] * (10 - ones), np.uint8)
    verdict = judge(labels, scored(labels, wrong), live=None, policy=GatePolicy.NOT_WORSE)
    assert (verdict.decision, verdict.live, verdict.live_version) == (decision, None, None)


def test_few_images_decide_nothing_unless_nothing_is_live() -> None:
    labels = BALANCED[:9]
    live = scored(labels, range(9), 1)
    assert judge(labels, scored(labels, []), live=live, policy=GatePolicy.NOT_WORSE).decision is Decision.INCONCLUSIVE
    assert judge(labels, scored(labels, []), live=None, policy=GatePolicy.NOT_WORSE).decision is Decision.PROMOTE


def test_always_promotes_and_still_measures() -> None:
    verdict = judge(BALANCED, scored(BALANCED, range(90)), live=scored(BALANCED, [], 1), policy=GatePolicy.ALWAYS)
    assert verdict.decision is Decision.PROMOTE
    assert verdict.live is not None
    assert "100.0%" in verdict.reasons[0]


def test_nothing_replaces_a_live_version_that_cannot_be_measured_unless_always() -> None:
    live = Unmeasured(4, "its manifest is missing.")
    verdict = judge(BALANCED, scored(BALANCED, []), live=live, policy=GatePolicy.NOT_WORSE)
    assert (verdict.decision, verdict.live, verdict.live_version) == (Decision.INCONCLUSIVE, None, 4)
    assert "the live version 4 cannot be measured: its manifest is missing." in verdict.reasons[0]
    assert "by hand" in verdict.reasons[-1]
    always = judge(BALANCED, scored(BALANCED, []), live=live, policy=GatePolicy.ALWAYS)
    assert (always.decision, always.live_version) == (Decision.PROMOTE, 4)


def test_each_version_answers_at_its_own_threshold() -> None:
    live = Scored(scored(BALANCED, []).probabilities * 0.2, 0.1, 1)
    verdict = judge(BALANCED, scored(BALANCED, []), live=live, policy=GatePolicy.NOT_WORSE)
    assert verdict.live is not None
    assert verdict.live.accuracy == 1.0


def test_chance_is_the_exact_binomial_tail() -> None:
    assert worse_by_chance(0, 0) == 1.0
    assert worse_by_chance(0, 5) == 1 / 32
    assert worse_by_chance(2, 2) == 11 / 16
    assert 0 <= worse_by_chance(3000, 3200) < 0.01


@pytest.mark.parametrize("scores", [np.full(50, 0.7), np.linspace(0.5, 0.51, 50), np.full(50, np.nan)])
def test_scores_that_do_not_vary_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(DegenerateVersion, match="standard deviation"):
        refuse_degenerate(scores.astype(np.float32))


def test_scores_that_vary_pass() -> None:
    refuse_degenerate(np.linspace(0, 1, 50, dtype=np.float32))
