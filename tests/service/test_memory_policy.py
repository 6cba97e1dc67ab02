"""Every choice of the memory policy, and what holds of it in any state."""

import itertools
import random
from dataclasses import replace

import pytest

from service.memory_policy import Begin, Refuse, Resident, Stage, Stop, Wait, choose, has_room, next_step, over_budget


def engine(model: str, used: float = 0.0, **changes: object) -> Resident:
    """An idle live engine of 10 bytes."""
    resident = Resident(model, 1, size_bytes=10, stage=Stage.AWAKE, live=True, pinned=False, busy=False, last_used=used)
    return replace(resident, **changes)


def step(*residents: Resident, need: int = 10, budget: int = 20, known: bool = True) -> object:
    return next_step(need, residents, budget, size_is_known=known)


def test_it_begins_where_there_is_room() -> None:
    assert step() == Begin()
    assert step(engine("a")) == Begin()
    assert step(need=99) == Begin()  # alone it always may


def test_what_was_used_longest_ago_sleeps_first() -> None:
    a, b = engine("a", used=2), engine("b", used=1)
    assert step(a, b) == Stop((b,))
    assert step(a, b, need=20) == Stop((b, a))
    assert step(replace(a, busy=True), b) == Stop((b,))
    assert step(a, replace(b, busy=True)) == Stop((a,))


def test_versions_that_are_only_kept_warm_sleep_before_any_model() -> None:
    old = engine("a", used=1)
    live, warm = engine("b", used=9), engine("b", used=8, version=2, live=False)
    assert step(old, live, warm, budget=30) == Stop((warm,))
    assert step(old, live, warm, budget=20) == Stop((warm, old))
    warm_elsewhere = engine("a", used=0, version=2, live=False)
    assert choose([warm, live, warm_elsewhere, old], 10) == (warm_elsewhere,)  # its model was used longer ago


def test_a_model_sleeps_whole_or_not_at_all() -> None:
    live, warm = engine("a", used=1), engine("a", version=2, live=False, busy=True)
    other = engine("b", used=2)
    assert step(live, warm, other, budget=30) == Stop((other,))
    assert step(live, warm, budget=20) == Wait()


def test_it_waits_for_what_is_busy_or_stopping() -> None:
    a, b = engine("a", busy=True), engine("b", busy=True)
    assert step(a, b) == Wait()
    assert step(a, replace(b, busy=False, stage=Stage.STOPPING)) == Wait()
    assert step(a, replace(b, busy=False, stage=Stage.WAKING)) == Wait()
    assert step(engine("a"), engine("b", stage=Stage.STOPPING)) == Wait()  # what goes already is enough


def test_a_pinned_models_live_engine_never_sleeps_but_its_others_do() -> None:
    pinned = engine("a", pinned=True)
    warm = engine("a", version=2, live=False, pinned=True)
    assert step(pinned, engine("b", used=9)) == Stop((engine("b", used=9),))
    assert step(pinned, warm) == Stop((warm,))
    assert choose([pinned], 99) == ()


def test_it_refuses_only_what_surely_never_fits() -> None:
    pinned = engine("a", pinned=True, size_bytes=15)
    assert step(pinned) == Refuse(15)
    assert step(pinned, engine("b")) == Refuse(15)  # and stops nothing for it
    assert step(pinned, known=False) == Begin()
    assert step(pinned, engine("b"), known=False) == Stop((engine("b"),))
    assert step(engine("b", size_bytes=15, busy=True)) == Wait()


@pytest.mark.parametrize(("need", "fits"), [(10, True), (11, False)])
def test_room_counts_what_is_still_stopping(need: int, fits: bool) -> None:
    assert has_room(need, [engine("a", stage=Stage.STOPPING)], 20) is fits


def test_over_the_budget_idle_engines_sleep_but_never_the_last() -> None:
    a, b, c = engine("a", used=1), engine("b", used=2), engine("c", used=3)
    assert over_budget([a, b], 20) == ()
    assert over_budget([a, b, c], 20) == (a,)
    assert over_budget([a, b, c], 5) == (a, b)
    assert over_budget([c], 5) == ()
    assert over_budget([a, b, engine("d", stage=Stage.WAKING)], 20) == ()  # a swap needs both for a moment


def some_residents(chance: random.Random) -> list[Resident]:
    pinned = {model: chance.random() < 0.3 for model in "abcdef"}
    chosen = chance.sample(list(itertools.product("abcdef", (1, 2))), chance.randint(0, 12))
    return [
        Resident(
            model,
            version,
            size_bytes=chance.randint(1, 20),
            stage=chance.choice([Stage.AWAKE, Stage.AWAKE, Stage.WAKING, Stage.STOPPING]),
            live=version == 1,
            pinned=pinned[model],
            busy=chance.random() < 0.3,
            last_used=chance.random(),
        )
        for model, version in chosen
    ]


def size(residents: list[Resident] | tuple[Resident, ...]) -> int:
    return sum(each.size_bytes for each in residents)


@pytest.mark.parametrize("seed", range(4))
def test_in_any_state_only_idle_engines_sleep_no_more_than_needed_and_as_many_as_possible(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        check_choices(chance)


def check_choices(chance: random.Random) -> None:
    residents, budget = some_residents(chance), chance.randint(1, 120)
    need, known = chance.randint(1, 20), chance.random() < 0.5
    awake = [each for each in residents if each.stage is Stage.AWAKE]
    for chosen, excess, among in (
        (choose(residents, budget), budget, residents),
        (over_budget(residents, budget), size(awake) - budget, awake),
    ):
        assert len(set(chosen)) == len(chosen)
        assert not [each for each in chosen if each.busy or each.stage is not Stage.AWAKE]
        assert not [each for each in chosen if each.live and each.pinned]
        last = {each.model for each in chosen[-1:]}  # the group that was needed at last
        assert size([each for each in chosen if each.model not in last]) < max(excess, 1)
        if size(chosen) < excess and len(chosen) < len(among) - 1:  # then there is nothing left to be had
            rest = [each for each in among if each not in chosen]
            assert choose(rest, 1) == ()
    decision = next_step(need, residents, budget, size_is_known=known)
    if has_room(need, residents, budget):
        assert decision == Begin()
    if isinstance(decision, Refuse):
        assert known
        assert decision.kept_bytes + need > budget


@pytest.mark.parametrize("seed", range(4))
def test_who_waits_gets_room_in_the_end_or_a_refusal(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        play(chance)


def play(chance: random.Random) -> None:
    """Carry out what is decided; what stops is gone, what wakes is awake, what is busy becomes idle."""
    residents, budget, need = some_residents(chance), chance.randint(1, 120), chance.randint(1, 20)
    for _ in range(20):
        match next_step(need, residents, budget, size_is_known=True):
            case Begin():
                assert not residents or size(residents) + need <= budget
                return
            case Refuse(kept):
                assert kept == size(
                    [each for each in residents if not each.may_ever_stop and each.stage is not Stage.STOPPING]
                )
                return
            case Stop(engines):
                residents = [replace(each, stage=Stage.STOPPING) if each in engines else each for each in residents]
            case Wait():
                staying = [each for each in residents if each.stage is not Stage.STOPPING]
                residents = [replace(each, stage=Stage.AWAKE, busy=False) for each in staying]
    raise AssertionError("It waits for ever.")
