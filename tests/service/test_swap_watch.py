"""When a version that took over gives its place back, and how that is declared."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from serving_fakes import settings

from contract.errors import DatabaseUnavailable, NothingToRollBack, RipenError
from service.engine_wire import BatchResult
from service.metrics import Metrics
from service.model_versions import Swap
from service.swap_watch import SwapWatch, judge
from service.version_health import Figures, Health

BEFORE = Figures(images=1000, batches=1000, image_s=0.010)


@pytest.mark.parametrize(
    ("new", "before", "wanted"),
    [
        (Figures(images=1000, batches=1000, image_s=0.010), BEFORE, None),
        (Figures(), BEFORE, None),
        (Figures(images=19, failures=19), BEFORE, None),  # too few to say
        (Figures(images=20, failures=1), BEFORE, None),
        (Figures(images=20, failures=2), BEFORE, "2 of 20 answers failed; at most 5.0% may"),
        (Figures(deaths=3), BEFORE, None),
        (Figures(deaths=4), BEFORE, "its engine ended 4 times; at most 3 may be"),
        (Figures(images=50, batches=50, image_s=0.059), BEFORE, None),  # 5.9 times as long, but below 50 ms more
        (Figures(images=50, batches=50, image_s=0.061), BEFORE, "takes 61 ms in the median, 10 ms before; at most 60"),
        (Figures(images=49, batches=49, image_s=9.0), BEFORE, None),
        (Figures(images=50, batches=50, image_s=9.0), Figures(images=49, batches=49, image_s=0.010), None),
        (Figures(images=50, batches=50, image_s=0.29), Figures(images=50, batches=50, image_s=0.1), None),
        (Figures(images=50, batches=50, image_s=0.31), Figures(images=50, batches=50, image_s=0.1), "at most 300 ms"),
    ],
)
def test_what_is_judged(new: Figures, before: Figures, wanted: str | None) -> None:
    why = judge(new, before, error_share=0.05, slowdown=3.0)
    assert (why is None) == (wanted is None), why
    assert wanted is None or wanted in (why or "")


def test_only_what_the_version_is_to_blame_for_is_counted() -> None:
    async def story() -> None:
        health, loop = Health(), asyncio.get_running_loop()
        answered, failed, given_up = (loop.create_future() for _ in range(3))
        answered.set_result(BatchResult(1, (0.5, 0.5), decode_seconds=0.01, infer_seconds=0.03))
        failed.set_exception(NothingToRollBack("any error of a batch"))
        given_up.cancel()
        for images, batch in ((2, answered), (3, failed), (5, given_up)):
            health.batch_ended(images, batch)
        health.count_death()
        assert health.figures() == Figures(images=5, failures=3, deaths=1, batches=1, image_s=pytest.approx(0.02))
        health.begin()
        assert health.figures() == Figures()

    asyncio.run(story())


@dataclass
class RollingDatabase:
    """The part of the Database port that the watch needs; `answers` are raised one after another, None is success."""

    answers: list[RipenError | None]
    calls: list[tuple[str, str, str, int | None]] = field(default_factory=list)

    def rollback(self, model: str, *, reason: str, actor: str, live: int | None = None) -> None:
        self.calls.append((model, reason, actor, live))
        if error := self.answers.pop(0):
            raise error


class Swapped:
    """Stands where Versions stands: one swap, whose new version fails always."""

    def __init__(self) -> None:
        self.health = Health()
        self.promote()

    def promote(self) -> None:
        self.health.begin()
        self.health.count_failed(30)
        self.swap = Swap("default", 2, 1, at=asyncio.get_running_loop().time(), before=BEFORE, health=self.health)

    def swaps(self) -> tuple[Swap, ...]:
        return (self.swap,)


Story = Callable[[SwapWatch, Swapped, RollingDatabase, list[str]], Awaitable[None]]


def run(story: Story, *answers: RipenError | None, watch_s: float = 60) -> Metrics:
    async def tell() -> Metrics:
        database, swapped, metrics, told = RollingDatabase(list(answers)), Swapped(), Metrics(), list[str]()
        watch = SwapWatch(
            database, swapped, metrics, settings=settings(watch_s=watch_s), on_change=lambda: told.append("changed")
        )
        await story(watch, swapped, database, told)
        return metrics

    return asyncio.run(tell())


def test_a_bad_version_is_rolled_back_once_per_promotion() -> None:
    async def story(watch: SwapWatch, swapped: Swapped, database: RollingDatabase, told: list[str]) -> None:
        await watch.look()
        await watch.look()
        ((model, reason, actor, live),) = database.calls
        assert (model, actor, live) == ("default", "watch", 2)
        assert reason == "Within 0 s after it took over: 30 of 30 answers failed; at most 5.0% may."
        assert told == ["changed"]
        swapped.promote()  # by hand, again
        await watch.look()
        assert len(database.calls) == 2

    metrics = run(story, None, None)
    assert 'ripen_automatic_rollbacks_total{model="default"} 2.0' in metrics.expose().decode()


def test_another_replica_was_faster() -> None:
    async def story(watch: SwapWatch, swapped: Swapped, database: RollingDatabase, told: list[str]) -> None:
        await watch.look()
        await watch.look()
        assert len(database.calls) == 1
        assert told == []

    metrics = run(story, NothingToRollBack("Version 2 is not live any more."))
    assert "ripen_automatic_rollbacks_total{" not in metrics.expose().decode()


def test_a_database_that_is_away_is_asked_again() -> None:
    async def story(watch: SwapWatch, swapped: Swapped, database: RollingDatabase, told: list[str]) -> None:
        for _ in range(4):
            await watch.look()
        assert len(database.calls) == 3
        assert told == ["changed"]

    run(story, DatabaseUnavailable("It is locked."), DatabaseUnavailable("It is locked."), None)


def test_after_its_time_a_version_stays() -> None:
    async def story(watch: SwapWatch, swapped: Swapped, database: RollingDatabase, told: list[str]) -> None:
        await watch.look()
        assert database.calls == []

    run(story, watch_s=0)
