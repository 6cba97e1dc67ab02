"""The keeper in front of engines whose starts fail when they are told to."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import pytest
from serving_fakes import GatedEngine, queue_depth, settings, until

from contract.errors import EngineUnavailable, LoadFailed, Overloaded
from service.batcher import Batcher
from service.engine_keeper import EngineKeeper
from service.engine_wire import BatchResult, EngineImage
from service.memory_policy import Stage
from service.metrics import Metrics

IMAGE = EngineImage(b"x", encoded=True)


class MortalEngine(GatedEngine):
    """An engine that ends when it is told to."""

    pid = 1
    waiting_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    async def infer(self, images: Sequence[EngineImage]) -> BatchResult:
        assert not self.ended.is_set()
        return await super().infer(images)

    def hang_up(self) -> None:
        self.ended.set()

    async def stop(self) -> None:
        self.ended.set()


class Starts:
    """Starts engines: each start waits for what `next` brings, and raises it if it is an error."""

    def __init__(self) -> None:
        self.next: asyncio.Queue[MortalEngine | Exception] = asyncio.Queue()

    async def __call__(self) -> MortalEngine:
        result = await self.next.get()
        if isinstance(result, Exception):
            raise result
        return result


def keeper_of(
    starts: Starts, *, room: Callable[[], bool] = lambda: True, on_restart: Callable[[], None] = lambda: None
) -> EngineKeeper:
    return EngineKeeper(
        starts, room=lambda: nullcontext(room()), stuck_s=60, on_restart=on_restart, on_change=lambda: None
    )


@pytest.mark.parametrize(
    ("failure", "said"),
    [(LoadFailed("The memory is full."), "The memory is full"), (ZeroDivisionError("a defect"), "ZeroDivisionError")],
)
def test_requests_wait_for_the_first_restart_and_fail_at_once_when_it_failed(failure: Exception, said: str) -> None:
    async def tell() -> None:
        engine, starts, metrics, restarts = MortalEngine(), Starts(), Metrics(), list[int]()
        keeper = keeper_of(starts, on_restart=lambda: restarts.append(1))
        starts.next.put_nowait(engine)
        batcher = Batcher(keeper, settings(), metrics=metrics, model="default", version=1)
        deadline = asyncio.get_running_loop().time() + 20
        assert await batcher.submit([IMAGE], deadline) == [0.01]
        engine.ended.set()
        await until(lambda: restarts)
        waiting = asyncio.create_task(batcher.submit([IMAGE], deadline))
        await queue_depth(metrics, 1)
        assert not waiting.done()
        starts.next.put_nowait(failure)
        for request in (waiting, batcher.submit([IMAGE], deadline)):
            with pytest.raises(EngineUnavailable, match="it does not start; the version's status says why"):
                await asyncio.wait_for(request, 5)
            assert said in keeper.trouble
        starts.next.put_nowait(MortalEngine())
        await until(lambda: not keeper.trouble)
        assert await batcher.submit([IMAGE], deadline) == [0.01]
        await batcher.stop()
        await keeper.stop()

    asyncio.run(tell())


def test_a_sleeping_engine_wakes_for_the_first_of_many_requests() -> None:
    async def tell() -> None:
        starts, metrics, restarts = Starts(), Metrics(), list[int]()
        keeper = keeper_of(starts, on_restart=lambda: restarts.append(1))
        batcher = Batcher(keeper, settings(queue_size=3), metrics=metrics, model="default", version=1)
        deadline = asyncio.get_running_loop().time() + 20
        for _ in range(2):  # from its birth, and after it was put to sleep
            with pytest.raises(EngineUnavailable, match="it sleeps"):
                _ = keeper.pid
            assert keeper.stage is Stage.ASLEEP
            waiting = [asyncio.create_task(batcher.submit([IMAGE], deadline)) for _ in range(3)]
            await until(lambda: keeper.stage is Stage.WAKING)
            await queue_depth(metrics, 3)
            with pytest.raises(Overloaded):  # those who wait for the engine wait in its queue
                await batcher.submit([IMAGE], deadline)
            starts.next.put_nowait(MortalEngine())
            assert await asyncio.gather(*waiting) == [[0.01]] * 3
            assert keeper.can_sleep
            assert starts.next.empty()  # one start for all of them
            keeper.sleep()
            await until(lambda: keeper.stage is Stage.ASLEEP)
        assert restarts == []
        await batcher.stop()
        await keeper.stop()

    asyncio.run(tell())


def test_who_waits_hears_at_once_that_the_engine_cannot_wake_and_the_next_request_tries_again() -> None:
    async def tell() -> None:
        starts = Starts()
        keeper = keeper_of(starts)
        batcher = Batcher(keeper, settings(), metrics=Metrics(), model="default", version=1)
        deadline = asyncio.get_running_loop().time() + 20
        starts.next.put_nowait(LoadFailed("The memory is full."))
        with pytest.raises(EngineUnavailable, match="it does not start; the version's status says why"):
            await asyncio.wait_for(batcher.submit([IMAGE], deadline), 5)
        assert isinstance(keeper.failure, LoadFailed)
        assert keeper.stage is Stage.ASLEEP
        starts.next.put_nowait(MortalEngine())
        assert await batcher.submit([IMAGE], deadline) == [0.01]
        assert (keeper.failure, keeper.trouble) == (None, "")
        await batcher.stop()
        await keeper.stop()

    asyncio.run(tell())


def test_an_engine_that_is_wanted_while_it_falls_asleep_wakes_afterwards() -> None:
    async def tell() -> None:
        starts = Starts()
        keeper = keeper_of(starts)
        for engine in (MortalEngine(), MortalEngine()):
            starts.next.put_nowait(engine)
        await keeper.available()
        keeper.sleep()
        assert keeper.stage is Stage.STOPPING
        await asyncio.wait_for(keeper.available(), 5)
        assert keeper.stage is Stage.AWAKE
        assert starts.next.empty()
        await keeper.stop()

    asyncio.run(tell())


def test_a_start_that_nobody_waits_for_is_given_up_and_begun_again_for_who_came_too_late() -> None:
    async def tell() -> None:
        starts, wanted = Starts(), False
        keeper = keeper_of(starts, room=lambda: wanted)
        starts.next.put_nowait(MortalEngine())
        await asyncio.wait_for(keeper.available(), 5)
        assert (keeper.stage, keeper.trouble, keeper.failure) == (Stage.ASLEEP, "", None)
        assert not starts.next.empty()
        wanted = True
        batcher = Batcher(keeper, settings(), metrics=Metrics(), model="default", version=1)
        assert await asyncio.wait_for(batcher.submit([IMAGE], asyncio.get_running_loop().time() + 20), 5) == [0.01]
        await batcher.stop()
        await keeper.stop()

    asyncio.run(tell())
