"""The queue of one version, in front of an engine that waits when it is told to."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
from serving_fakes import GatedEngine, queue_depth, settings, until

from contract.errors import DeadlineExceeded, EngineUnavailable, InvalidImage, Overloaded
from contract.records import Failure
from service import batcher as batcher_module
from service.batcher import Batcher
from service.engine_wire import BatchResult, EngineImage
from service.metrics import Metrics


def images(*sizes: int) -> list[EngineImage]:
    return [EngineImage(b"x" * size, encoded=True) for size in sizes]


def run(story: Callable[[GatedEngine, Batcher, Metrics], Awaitable[None]], **changes: object) -> None:
    """Tell `story` with an engine, its batcher and the metrics."""

    async def tell() -> None:
        engine, metrics = GatedEngine(), Metrics()
        engine.capacity = replace(engine.capacity, batch_size=settings(**changes).max_batch_size)
        batcher = Batcher(engine, settings(**changes), metrics=metrics, model="default", version=1)
        await story(engine, batcher, metrics)
        await batcher.stop()

    asyncio.run(tell())


def soon(seconds: float = 30.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def busy(engine: GatedEngine, batcher: Batcher) -> "asyncio.Task[list[object]]":
    """Occupy the engine with one image that is not answered before the gate opens."""
    engine.gate.clear()
    task = asyncio.create_task(batcher.submit(images(1), soon()))
    await engine.started.wait()
    return task


def test_answers_in_order() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        assert await batcher.submit(images(3, 1, 2), soon()) == [0.03, 0.01, 0.02]

    run(story)


def test_an_idle_engine_takes_at_once_and_batches_form_while_it_is_busy() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        first = await busy(engine, batcher)
        others = [asyncio.create_task(batcher.submit(images(size), soon())) for size in (2, 3, 4)]
        await queue_depth(metrics, 3)
        engine.gate.set()
        assert [await each for each in (first, *others)] == [[0.01], [0.02], [0.03], [0.04]]
        assert [len(batch) for batch in engine.batches] == [1, 3]

    run(story)


def test_what_waits_is_spread_over_the_idle_workers() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        engine.capacity = replace(engine.capacity, workers=2, in_flight=3)
        engine.gate.clear()
        asked = asyncio.create_task(batcher.submit(images(*range(1, 20)), soon()))
        await until(lambda: len(engine.batches) == 3)
        assert [len(batch) for batch in engine.batches] == [4, 4, 4]  # full for two workers, the third waits for one
        engine.gate.set()
        assert len(await asked) == 19
        engine.batches.clear()
        assert len(await batcher.submit(images(1, 2, 3), soon())) == 3
        assert [len(batch) for batch in engine.batches] == [2, 1]

    run(story, max_batch_size=4)


def test_a_request_larger_than_a_batch_is_split() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        assert await batcher.submit(images(*range(1, 12)), soon()) == [size / 100 for size in range(1, 12)]
        assert [len(batch) for batch in engine.batches] == [4, 4, 3]

    run(story, max_batch_size=4)


def test_a_full_queue_refuses_at_once() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        first = await busy(engine, batcher)
        waiting = asyncio.create_task(batcher.submit(images(1, 2, 3), soon()))
        await queue_depth(metrics, 3)
        with pytest.raises(Overloaded, match="3 images are waiting and 2 more came; at most 4 may wait"):
            await batcher.submit(images(1, 2), soon())
        engine.gate.set()
        assert len(await first + await waiting) == 4

    run(story, queue_size=4)


def test_a_batch_takes_no_more_bytes_than_are_packed_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "BATCH_BYTES", 50)

    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        assert await batcher.submit(images(30, 30, 30, 60, 1), soon()) == [0.3, 0.3, 0.3, 0.6, 0.01]
        assert [[len(data) for data in batch] for batch in engine.batches] == [[30, 30], [30, 60], [1]]

    run(story)


def test_a_queue_full_of_bytes_refuses_at_once_and_has_room_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "WAITING_BYTES", 2000)

    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        first = await busy(engine, batcher)
        waiting = asyncio.create_task(batcher.submit(images(1000, 500), soon()))
        given_up = asyncio.create_task(batcher.submit(images(400), soon()))
        await queue_depth(metrics, 3)
        with pytest.raises(Overloaded, match="1900 bytes are waiting and 101 bytes more came; at most 2000 bytes"):
            await batcher.submit(images(101), soon())
        given_up.cancel()
        await queue_depth(metrics, 2)
        later = asyncio.create_task(batcher.submit(images(500), soon()))
        await queue_depth(metrics, 3)
        engine.gate.set()
        assert [len(await each) for each in (first, waiting, later)] == [1, 2, 1]
        assert await batcher.submit(images(2000), soon()) == [20.0]

    run(story, max_request_bytes=1024)


def test_an_unexpected_error_costs_its_batch_and_not_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        engine.error = ZeroDivisionError("a defect")
        with pytest.raises(EngineUnavailable, match="log says why"):
            await batcher.submit(images(1), soon(5))
        assert await batcher.submit(images(2), soon(5)) == [0.02]

    run(story)
    assert "ZeroDivisionError: a defect" in caplog.text


def test_a_result_of_the_wrong_length_costs_its_batch_and_not_the_worker() -> None:
    class Short(GatedEngine):
        async def infer(self, images: Sequence[EngineImage]) -> BatchResult:
            result = await super().infer(images)
            return BatchResult(1, result.outcomes[:1])

    async def tell() -> None:
        batcher = Batcher(Short(), settings(), metrics=Metrics(), model="default", version=1)
        with pytest.raises(EngineUnavailable):
            await batcher.submit(images(1, 2), soon(5))
        assert await batcher.submit(images(3), soon(5)) == [0.03]
        await batcher.stop()

    asyncio.run(tell())


def test_an_expired_request_never_reaches_the_engine() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        first = await busy(engine, batcher)
        with pytest.raises(DeadlineExceeded):
            await batcher.submit(images(2), soon(0.01))
        await queue_depth(metrics, 0)
        engine.gate.set()
        assert await first == [0.01]
        assert await batcher.submit(images(3), soon()) == [0.03]
        assert [[len(data) for data in batch] for batch in engine.batches] == [[1], [3]]

    run(story)


def test_a_cancelled_request_never_reaches_the_engine() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        first = await busy(engine, batcher)
        cancelled = asyncio.create_task(batcher.submit(images(2, 2), soon()))
        await queue_depth(metrics, 2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await queue_depth(metrics, 0)
        engine.gate.set()
        await first
        assert len(engine.batches) == 1

    run(story)


def test_a_dying_engine_fails_only_what_it_had() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        in_flight = await busy(engine, batcher)
        waiting = asyncio.create_task(batcher.submit(images(2), soon()))
        await queue_depth(metrics, 1)
        engine.running.clear()
        engine.error = EngineUnavailable("The engine process ended.")
        engine.gate.set()
        with pytest.raises(EngineUnavailable):
            await in_flight
        await queue_depth(metrics, 1)
        engine.running.set()
        assert await waiting == [0.02]

    run(story)


def test_a_waiting_request_keeps_its_deadline_while_there_is_no_engine() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        engine.running.clear()
        with pytest.raises(DeadlineExceeded):
            await batcher.submit(images(2), soon(0.01))
        assert engine.batches == []

    run(story)


def test_stopping_tells_whoever_still_waits() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        requests = [await busy(engine, batcher), asyncio.create_task(batcher.submit(images(2), soon()))]
        await queue_depth(metrics, 1)
        await batcher.stop()
        for request in requests:
            with pytest.raises(EngineUnavailable, match="was stopped before it answered"):
                await request

    run(story)


def test_one_bad_image_is_an_error_for_itself_alone() -> None:
    class Picky(GatedEngine):
        async def infer(self, images: object) -> BatchResult:
            return BatchResult(1, (0.25, Failure("invalid_image", "Not an image."), 0.75))

    async def tell() -> None:
        batcher = Batcher(Picky(), settings(), metrics=Metrics(), model="default", version=1)
        first, second, third = await batcher.submit(images(1, 2, 3), soon())
        assert (first, third) == (0.25, 0.75)
        assert isinstance(second, InvalidImage)
        await batcher.stop()

    asyncio.run(tell())


def test_phases_and_batch_sizes_are_counted() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        await batcher.submit(images(1, 2), soon())
        text = metrics.expose().decode()
        assert "ripen_batch_size_sum 2.0" in text
        assert 'ripen_phase_seconds_count{phase="queue"} 2.0' in text
        assert 'ripen_phase_seconds_count{phase="infer"} 1.0' in text

    run(story)


def test_what_cannot_be_answered_in_time_is_refused_when_it_comes() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        engine.capacity = replace(engine.capacity, image_seconds=1.0)
        first = await busy(engine, batcher)
        second = asyncio.create_task(batcher.submit(images(2), soon()))
        await queue_depth(metrics, 1)
        with pytest.raises(Overloaded, match=r"would take up to 3.6 s and has 3.5 s left"):
            await batcher.submit(images(3), soon(3.5))
        engine.gate.set()
        assert [await first, await second] == [[0.01], [0.02]]
        assert await batcher.submit(images(3), soon(0.5)) == [0.03]  # an idle engine takes what it can

    run(story)


def test_what_would_be_late_never_reaches_the_engine() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        engine.capacity = replace(engine.capacity, image_seconds=0.001, in_flight=2, batch_size=1)
        engine.gate.clear()
        first = [asyncio.create_task(batcher.submit(images(1), soon())) for _ in range(2)]
        late = asyncio.create_task(batcher.submit(images(2), soon(20)))
        await queue_depth(metrics, 1)
        engine.capacity = replace(engine.capacity, image_seconds=40.0)  # slower than it seemed when they were taken in
        engine.gate.set()
        with pytest.raises(DeadlineExceeded, match="too late"):
            await late
        assert [await each for each in first] == [[0.01], [0.01]]
        assert len(engine.batches) == 2

    run(story)


def test_a_long_queue_is_bounded_by_its_wait_and_a_short_one_by_deadlines_alone() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        engine.capacity = replace(engine.capacity, image_seconds=0.1)
        first = await busy(engine, batcher)
        most = batcher_module.ALWAYS_TAKEN - 1
        waiting = [asyncio.create_task(batcher.submit(images(1), soon())) for _ in range(most)]
        await queue_depth(metrics, most)
        with pytest.raises(Overloaded, match="RIPEN_QUEUE_WAIT_S"):
            await batcher.submit(images(1), soon())
        engine.gate.set()
        assert [await each for each in (first, *waiting)] == [[0.01]] * (most + 1)

    run(story)


def test_several_batches_are_under_way_where_the_engine_wants_them() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        engine.capacity = replace(engine.capacity, in_flight=3, batch_size=1)
        engine.gate.clear()
        asked = [asyncio.create_task(batcher.submit(images(size), soon())) for size in (1, 2, 3, 4)]
        await queue_depth(metrics, 1)
        assert [len(batch) for batch in engine.batches] == [1, 1, 1]
        engine.gate.set()
        assert [await each for each in asked] == [[0.01], [0.02], [0.03], [0.04]]

    run(story)


def test_the_time_per_image_follows_what_is_measured_under_load() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        engine.capacity = replace(engine.capacity, image_seconds=10.0, batch_size=1)
        await asyncio.gather(*(batcher.submit(images(1), soon(10_000)) for _ in range(60)))
        assert batcher.image_s < 1.0

    run(story, queue_wait_s=3600.0)


def test_a_lone_batch_may_lower_the_time_per_image_and_never_raise_it() -> None:
    async def story(engine: GatedEngine, batcher: Batcher, metrics: Metrics) -> None:
        engine.capacity = replace(engine.capacity, image_seconds=10.0)
        for _ in range(60):  # each alone: what comes second would be refused
            await batcher.submit(images(1), soon())
        assert batcher.image_s < 1.0
        engine.capacity = replace(engine.capacity, image_seconds=1e-9)
        low = batcher.image_s
        engine.gate.clear()
        slow = asyncio.create_task(batcher.submit(images(1), soon()))
        await asyncio.sleep(2 * low)
        engine.gate.set()
        await slow
        assert batcher.image_s == low

    run(story)
