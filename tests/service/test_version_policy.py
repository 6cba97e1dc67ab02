"""Every choice of the version policy."""

import itertools
from dataclasses import replace

import pytest

from contract.records import VersionState
from service.version_policy import Activate, Load, Present, Unload, Wanted, next_actions

START, LOADING, AVAILABLE, UNLOADING, END = VersionState
NOW = 100.0


def choose(wanted: Wanted, states: dict[int, VersionState], serving: int | None = None) -> list[object]:
    return list(next_actions(wanted, [Present(*each) for each in states.items()], serving, NOW))


def test_loads_the_first_version() -> None:
    assert choose(Wanted(1), {}) == [Load(1)]


@pytest.mark.parametrize("state", [START, LOADING])
def test_waits_for_a_version_that_is_loading(state: VersionState) -> None:
    assert choose(Wanted(1), {1: state}) == []


def test_activates_what_is_available() -> None:
    assert choose(Wanted(1), {1: AVAILABLE}) == [Activate(1)]


def test_does_nothing_when_all_is_as_declared() -> None:
    assert choose(Wanted(2, 1), {1: AVAILABLE, 2: AVAILABLE}, serving=2) == []


@pytest.mark.parametrize("state", [START, LOADING, UNLOADING, END])
def test_the_old_version_serves_until_the_new_one_is_available(state: VersionState) -> None:
    assert not [
        action for action in choose(Wanted(2), {1: AVAILABLE, 2: state}, serving=1) if isinstance(action, Activate)
    ]
    assert Unload(1) not in choose(Wanted(2), {1: AVAILABLE, 2: state}, serving=1)


def test_swaps_and_keeps_the_previous_version_warm() -> None:
    assert choose(Wanted(2, 1), {1: AVAILABLE, 2: AVAILABLE}, serving=1) == [Activate(2)]


def test_swaps_and_unloads_where_nothing_is_kept() -> None:
    states = {1: AVAILABLE, 2: AVAILABLE}
    assert choose(Wanted(2, 1, keep_previous=False), states, serving=1) == [Activate(2), Unload(1)]


def test_unloads_what_is_neither_live_nor_kept() -> None:
    states = {1: AVAILABLE, 2: AVAILABLE, 3: AVAILABLE}
    assert choose(Wanted(3, 2), states, serving=2) == [Activate(3), Unload(1)]


def test_gives_up_loading_what_is_no_longer_declared() -> None:
    assert choose(Wanted(3, 1), {1: AVAILABLE, 2: LOADING}, serving=1) == [Unload(2), Load(3)]


def test_loads_the_previous_version_only_after_the_live_one_serves() -> None:
    assert choose(Wanted(2, 1), {}) == [Load(2)]
    assert choose(Wanted(2, 1), {2: LOADING}) == []
    assert choose(Wanted(2, 1), {2: AVAILABLE}) == [Activate(2), Load(1)]


def test_rolls_back_to_a_warm_version_in_one_step() -> None:
    assert choose(Wanted(1), {1: AVAILABLE, 2: AVAILABLE}, serving=2) == [Activate(1)]


def test_the_version_that_was_rolled_back_stays_warm_instead_of_an_older_one() -> None:
    states = {2: AVAILABLE, 3: AVAILABLE}
    assert choose(Wanted(2, 1, replaced=3), states, serving=2) == []
    assert choose(Wanted(3, 2, replaced=3), states, serving=2) == [Activate(3)]  # promoted again


@pytest.mark.parametrize("state", [UNLOADING, END])
def test_the_previous_version_is_loaded_where_the_replaced_one_is_gone(state: VersionState) -> None:
    assert choose(Wanted(2, 1, replaced=3), {2: AVAILABLE, 3: state}, serving=2) == [Load(1)]


def test_a_third_version_makes_room_before_the_next_one_loads() -> None:
    states = {1: AVAILABLE, 2: AVAILABLE}
    assert choose(Wanted(3, 2, replaced=1), states, serving=2) == [Unload(1), Load(3)]
    assert choose(Wanted(3, 1, replaced=2), states, serving=1) == [Unload(2), Load(3)]


def test_a_version_that_is_wanted_again_while_it_unloads_loads_afterwards() -> None:
    assert choose(Wanted(1), {1: UNLOADING, 2: AVAILABLE}, serving=2) == []
    assert choose(Wanted(1), {1: END, 2: AVAILABLE}, serving=2) == [Load(1)]


@pytest.mark.parametrize(("retry_at", "actions"), [(None, []), (NOW + 1, []), (NOW, [Load(1)]), (0.0, [Load(1)])])
def test_a_failed_version_loads_again_when_its_time_has_come(retry_at: float | None, actions: list[object]) -> None:
    assert next_actions(Wanted(1), [Present(1, END, retry_at)], None, NOW) == actions


@pytest.mark.parametrize("keep_previous", [True, False])
@pytest.mark.parametrize("retry_at", [None, NOW + 1])
def test_the_previous_version_answers_where_the_live_one_cannot(retry_at: float | None, keep_previous: bool) -> None:
    wanted, failed = Wanted(2, 1, keep_previous), Present(2, END, retry_at)
    assert next_actions(wanted, [failed, Present(1, END)], None, NOW) == [Load(1)]
    assert next_actions(wanted, [failed, Present(1, LOADING)], None, NOW) == []
    assert next_actions(wanted, [failed, Present(1, AVAILABLE)], None, NOW) == [Activate(1)]
    assert next_actions(wanted, [failed, Present(1, AVAILABLE)], 1, NOW) == []
    assert next_actions(wanted, [failed, Present(1, END, None)], None, NOW) == []


@pytest.mark.parametrize("keep_previous", [True, False])
def test_a_live_version_that_is_tried_again_takes_over_from_the_previous_one(keep_previous: bool) -> None:
    wanted = Wanted(2, 1, keep_previous)
    assert next_actions(wanted, [Present(2, END, NOW), Present(1, LOADING)], None, NOW) == [Load(2)]
    assert next_actions(wanted, [Present(2, LOADING), Present(1, AVAILABLE)], None, NOW) == [Activate(1)]
    assert next_actions(wanted, [Present(2, END, NOW), Present(1, AVAILABLE)], 1, NOW) == [Load(2)]
    swap = next_actions(wanted, [Present(2, AVAILABLE), Present(1, AVAILABLE)], 1, NOW)
    assert swap == ([Activate(2)] if keep_previous else [Activate(2), Unload(1)])


def test_a_previous_version_that_is_not_kept_is_not_loaded_beside_the_live_one() -> None:
    assert next_actions(Wanted(2, 1, keep_previous=False), [Present(2, AVAILABLE)], 2, NOW) == []


def test_nothing_declared_takes_everything_down() -> None:
    assert choose(Wanted(None), {1: AVAILABLE, 2: LOADING}, serving=1) == [Activate(None), Unload(1), Unload(2)]


def test_it_always_arrives_and_never_leaves_a_serving_model_unanswered() -> None:
    """From every mixture of states: carry out the actions, finish what is under way, repeat until nothing is to do."""
    wishes = [Wanted(1), Wanted(2), Wanted(3), Wanted(2, 1), Wanted(3, 2), Wanted(1, 3)]
    for wanted, states in itertools.product(wishes, itertools.product([None, *VersionState], repeat=3)):
        present = {number: state for number, state in enumerate(states, 1) if state is not None}
        for serving in [None, *(number for number, state in present.items() if state is AVAILABLE)]:
            left = settle(wanted, dict(present), serving)
            assert wanted.live in left
            assert len(left) <= 2
            if serving is None:
                assert left == {wanted.live, wanted.previous} - {None}


def settle(wanted: Wanted, present: dict[int, VersionState], serving: int | None) -> set[int]:
    """Play until the policy is content; return the versions that are available then."""
    for _ in range(10):
        actions = choose(wanted, present, serving)
        under_way = [number for number, state in present.items() if state in (START, LOADING, UNLOADING)]
        if not actions and not under_way:
            assert serving == wanted.live
            return {number for number, state in present.items() if state is AVAILABLE}
        for action in actions:
            match action:
                case Activate(number):
                    assert number is not None
                    assert present[number] is AVAILABLE
                    wanted, serving = replace(wanted, replaced=serving or wanted.replaced), number
                case Unload(number):
                    assert number != serving
                    present[number] = UNLOADING
                case Load(number):
                    assert present.get(number, END) is END
                    present[number] = LOADING
        for number, state in present.items():
            present[number] = {START: AVAILABLE, LOADING: AVAILABLE, UNLOADING: END}.get(state, state)
        assert serving is None or present[serving] is AVAILABLE
    raise AssertionError(f"{wanted} is never reached from {present}")
