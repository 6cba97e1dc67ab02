"""The retraining benchmark's reckoning and verdicts, on figures made up for them."""

import pytest

from benchmarks.retraining import NETWORKS, Round, Spent, judge, same_loss

VGG16, _, MOBILENET = NETWORKS


def test_the_second_epoch_counts_for_those_that_did_not_run() -> None:
    spent = Spent(7.0, ((3.0, 2.0), (6.0, 5.0)), 0.3, 0.9)
    assert spent.seconds == 7 + (3 + 4 * 2) + (6 + 9 * 5)
    assert spent.reckoned_s == spent.seconds


def test_all_epochs_count_where_they_ran_and_are_what_the_reckoning_is_held_against() -> None:
    spent = Spent(1.0, ((3.0, 2.0, 2.0, 2.0, 4.0), (6.0, *(5.0,) * 9)), 0.3, 0.9)
    assert spent.seconds == 1 + 13 + 51
    assert spent.reckoned_s == 1 + (3 + 4 * 2) + (6 + 9 * 5)


def whole(seconds: float, loss: float = 0.3) -> Spent:
    return Spent(0.0, ((seconds / 15,) * 5, (seconds / 15,) * 10), loss, 0.9)


def verdicts(rounds: list[Round]) -> dict[str, bool]:
    return {line.promise.partition(":")[0]: line.holds for line in judge(MOBILENET, {"MobileNet": rounds})}


@pytest.mark.parametrize(("first_s", "again_s", "holds"), [(7.9, 5.9, (True, True)), (8.1, 6.1, (False, False))])
def test_ratios_are_taken_within_a_round(first_s: float, again_s: float, holds: tuple[bool, bool]) -> None:
    quick = Round(whole(20.0), whole(first_s), whole(again_s), 21.0)
    slow = Round(whole(200.0), whole(10 * first_s), whole(10 * again_s), 210.0)
    told = verdicts([quick, slow, slow])
    assert (told["MobileNet, first"], told["MobileNet, 50 new images"]) == holds
    assert set(told) == {
        "MobileNet, first",
        "MobileNet, 50 new images",
        "two epochs tell what all take within 10%",
        "MobileNet",
    }


def test_networks_of_which_two_epochs_ran_promise_speed_only() -> None:
    rounds = [Round(whole(20.0), whole(4.0), whole(3.0), 21.0)]
    assert [line.holds for line in judge(VGG16, {"VGG16": rounds})] == [True, True]


def test_equal_losses_differ_no_more_than_by_their_seeds() -> None:
    assert same_loss([0.3, 0.4, 0.5], [0.35, 0.45, 0.55]).holds
    assert not same_loss([0.30, 0.31, 0.32], [0.40, 0.41, 0.42]).holds
