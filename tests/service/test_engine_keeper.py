"""The keeper in front of engines whose starts fail when they are told to."""

import asyncio
from collections.abc import Sequence

import pytest
from serving_fakes import GatedEngine, queue_depth, settings, until

from contract.errors import EngineUnavailable, LoadFailed
from service.batcher import Batcher
from service.engine_keeper import EngineKeeper
from service.engine_wire import BatchResult, EngineImage
from service.metrics import Metrics

IMAGE = EngineImage(b"x", encoded=True)


class MortalEngine(GatedEngine):
    """An engine that ends when it is told to."""

    pid = 1

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    async def infer(self, images: Sequence[EngineImage]) -> BatchResult:
        assert not self.ended.is_set()
        return await super().infer(images)

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


@pytest.mark.parametrize(
    ("failure", "said"),
    [(LoadFailed("The memory is full."), "The memory is full"), (ZeroDivisionError("a defect"), "ZeroDivisionError")],
)
def test_requests_wait_for_the_first_restart_and_fail_at_once_when_it_failed(failure: Exception, said: str) -> None:
    async def tell() -> None:
        engine, starts, metrics, restarts = MortalEngine(), Starts(), Metrics(), list[int]()
        keeper = EngineKeeper(engine, starts, stuck_s=60, on_restart=lambda: restarts.append(1))
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
            with pytest.raises(EngineUnavailable, match=said):
                await asyncio.wait_for(request, 5)
        starts.next.put_nowait(MortalEngine())
        await until(lambda: not keeper.trouble)
        assert await batcher.submit([IMAGE], deadline) == [0.01]
        await batcher.stop()
        await keeper.stop()

    asyncio.run(tell())
