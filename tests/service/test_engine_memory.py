"""The room of engines on a budget, with sleepers that have no process."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from serving_fakes import until

from contract.errors import EngineUnavailable, NoRoom
from service.engine_memory import ASSUMED_BYTES, EngineMemory
from service.memory_policy import Stage
from service.metrics import Metrics

GONE = 2**22 + 1  # no process has this id


class FakeSleeper:
    """Wakes at once when it is let in; falls asleep when the test says so."""

    def __init__(self, memory: EngineMemory, model: str, size_bytes: int | None = 10, number: int = 1) -> None:
        self.model, self.number = model, number
        self.engine_bytes, self.engine_pid, self.last_used = size_bytes, GONE, 0.0
        self.stage, self.busy = Stage.ASLEEP, True
        self._memory = memory
        memory.add(self)
        memory.set_live(model, {1})

    @property
    def can_sleep(self) -> bool:
        return self.stage is Stage.AWAKE

    def sleep(self) -> None:
        self.stage = Stage.STOPPING

    def change(self, *, stage: Stage, busy: bool = False) -> None:
        self.stage, self.busy = stage, busy
        self._memory.changed()

    async def wake(self) -> bool:
        async with self._memory.room(self) as there_is_room:
            if there_is_room:
                self.stage = Stage.AWAKE
        return there_is_room


def run(story: Callable[[EngineMemory, Metrics], Awaitable[None]], budget_bytes: int = 25) -> None:
    async def tell() -> None:
        metrics = Metrics()
        memory = EngineMemory(budget_bytes, metrics)
        await story(memory, metrics)
        await memory.close()

    asyncio.run(tell())


def test_who_comes_last_waits_until_another_is_idle_and_has_gone() -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        first, second, third = (FakeSleeper(memory, model) for model in "abc")
        assert await asyncio.gather(first.wake(), second.wake()) == [True, True]
        waking = asyncio.create_task(third.wake())
        second.change(stage=Stage.AWAKE, busy=False)
        await until(lambda: second.stage is Stage.STOPPING)
        assert first.stage is Stage.AWAKE
        assert not waking.done()
        second.change(stage=Stage.ASLEEP)
        assert await asyncio.wait_for(waking, 5)
        assert 'ripen_engine_sleeps_total{model="b"} 1.0' in metrics.expose().decode()

    run(story)


def test_who_is_no_longer_waited_for_gives_up_and_stops_nobody() -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        awake = [FakeSleeper(memory, model) for model in "ab"]
        for each in awake:
            await each.wake()
        late = FakeSleeper(memory, "c")
        waking = asyncio.create_task(late.wake())
        await asyncio.sleep(0)
        late.change(stage=Stage.ASLEEP, busy=False)
        assert await asyncio.wait_for(waking, 5) is False
        awake[0].change(stage=Stage.AWAKE, busy=False)
        assert [each.stage for each in awake] == [Stage.AWAKE] * 2

    run(story)


def test_what_is_admitted_has_its_room_from_then_on() -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        first, second, third = (FakeSleeper(memory, model) for model in "abc")
        assert memory.admit(first, whatever_it_takes=False)
        assert memory.admit(second, whatever_it_takes=False)
        assert not memory.admit(third, whatever_it_takes=False)
        assert memory.admit(third, whatever_it_takes=True)
        assert await asyncio.gather(*(each.wake() for each in (first, second, third))) == [True] * 3
        memory.trim()
        assert [each.stage for each in (first, second, third)] == [Stage.AWAKE] * 3  # all are busy
        first.last_used = 1.0
        for each in (first, second, third):
            each.busy = False
        memory.trim()
        assert [each.stage for each in (first, second, third)] == [Stage.AWAKE, Stage.STOPPING, Stage.AWAKE]

    run(story)


def test_what_never_fits_beside_pinned_models_is_refused() -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        memory.pin({"a"})
        pinned, other = FakeSleeper(memory, "a", 20), FakeSleeper(memory, "b")
        await pinned.wake()
        pinned.busy = False
        with pytest.raises(EngineUnavailable, match="RIPEN_MEMORY_BUDGET_BYTES"):
            await other.wake()
        memory.remove(pinned)
        assert await other.wake()

    run(story)


def test_what_was_never_measured_counts_as_the_assumed_size() -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        first, second = FakeSleeper(memory, "a", None), FakeSleeper(memory, "b", None)
        assert memory.admit(first, whatever_it_takes=False)
        assert not memory.admit(second, whatever_it_takes=False)
        first.engine_bytes = 10
        assert memory.admit(second, whatever_it_takes=False)

    run(story, ASSUMED_BYTES + 10)


def test_a_swap_puts_idle_engines_to_sleep_but_never_the_one_that_answers() -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        answers, idle, following = (
            FakeSleeper(memory, "a"),
            FakeSleeper(memory, "b"),
            FakeSleeper(memory, "a", number=2),
        )
        memory.set_live("a", {1, 2})
        for each in (answers, idle):
            await each.wake()
            each.busy = False
        waiting = asyncio.create_task(memory.make_way(following, timeout_s=60))
        await until(lambda: idle.stage is Stage.STOPPING)
        assert not waiting.done()
        idle.change(stage=Stage.ASLEEP)
        await waiting
        assert await following.wake()
        assert answers.stage is Stage.AWAKE

    run(story)


@pytest.mark.parametrize("size_bytes", [16, None])  # measured, or as the version that answers
def test_a_swap_that_never_fits_is_refused_with_all_figures(size_bytes: int | None) -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        answers, following = FakeSleeper(memory, "a", 16 * 2**20), FakeSleeper(memory, "a", size_bytes, number=2)
        if size_bytes is not None:
            following.engine_bytes = size_bytes * 2**20
        await answers.wake()
        refusal = (
            r"takes about 16 MiB, .* 16 MiB .*the budget is 20 MiB. .*RIPEN_MEMORY_BUDGET_BYTES.*RIPEN_SWAP=serial"
        )
        with pytest.raises(NoRoom, match=refusal):
            await memory.make_way(following, timeout_s=60)
        assert answers.stage is Stage.AWAKE

    run(story, 20 * 2**20)


def test_a_swap_that_was_never_measured_begins() -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        answers, following = FakeSleeper(memory, "a", None), FakeSleeper(memory, "a", None, number=2)
        await answers.wake()
        await memory.make_way(following, timeout_s=60)
        assert await following.wake()

    run(story)


def test_a_swap_needs_what_the_machine_has_left() -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        answers, following = FakeSleeper(memory, "a", 2**60), FakeSleeper(memory, "a", number=2)
        following.engine_bytes = 2**60
        await answers.wake()
        with pytest.raises(NoRoom, match=r"has .* MiB left now"):
            await memory.make_way(following, timeout_s=60)

    run(story, 2**62)


def test_a_swap_does_not_wait_for_ever_for_busy_models() -> None:
    async def story(memory: EngineMemory, metrics: Metrics) -> None:
        answers, busy, following = (
            FakeSleeper(memory, "a"),
            FakeSleeper(memory, "b"),
            FakeSleeper(memory, "a", number=2),
        )
        for each in (answers, busy):
            await each.wake()
        with pytest.raises(NoRoom, match="busy all the time"):
            await memory.make_way(following, timeout_s=0.01)

    run(story)
