"""The watcher in front of a database that can fail."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from serving_fakes import AspiringDatabase, settings, until

from contract.records import Model
from service.watcher import Watcher


class Told:
    """Stands where Versions stands and remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], list[object], bool]] = []
        self.waiting: str | None = None

    async def apply(
        self, models: list[str], aspirations: list[object], *, pinned: set[str], retry: bool = False
    ) -> None:
        self.calls.append((models, aspirations, retry))
        self.pinned = pinned

    def missing(self) -> str | None:
        return self.waiting


def run(story: Callable[[Watcher, AspiringDatabase, Told], Awaitable[None]], *, interval_s: float = 60) -> None:
    async def tell() -> None:
        database, told = AspiringDatabase([Model("default", None, None, "0" * 32, datetime.now(UTC))]), Told()
        watcher = Watcher(database, told, settings(poll_interval_s=interval_s))
        watching = asyncio.create_task(watcher.run())
        await story(watcher, database, told)
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled()

    asyncio.run(tell())


def test_it_tells_what_is_declared_and_is_ready_after_the_first_look() -> None:
    async def story(watcher: Watcher, database: AspiringDatabase, told: Told) -> None:
        assert watcher.missing() is not None
        await watcher.first_look.wait()
        assert told.calls == [(["default"], [], False)]
        assert watcher.missing() is None

    run(story)


def test_it_tells_which_models_are_pinned() -> None:
    async def story(watcher: Watcher, database: AspiringDatabase, told: Told) -> None:
        await watcher.first_look.wait()
        assert told.pinned == set()
        database.models = [replace(database.models[0], name=name, pinned=name == "b") for name in ("a", "b")]
        await asyncio.to_thread(watcher.look_now)
        assert told.calls[1][0] == ["a", "b"]
        assert told.pinned == {"b"}

    run(story)


def test_a_look_asked_from_another_thread_comes_at_once() -> None:
    async def story(watcher: Watcher, database: AspiringDatabase, told: Told) -> None:
        await watcher.first_look.wait()
        await asyncio.to_thread(watcher.look_now)  # returns when it was told
        assert told.calls[1] == (["default"], [], True)

    run(story)


def test_a_look_is_not_held_up_by_those_who_wait_for_it() -> None:
    async def story(watcher: Watcher, database: AspiringDatabase, told: Told) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await watcher.first_look.wait()
        await asyncio.to_thread(watcher.look_now)  # has the only thread while it waits
        assert len(told.calls) == 2

    run(story)


def test_a_service_that_was_ready_stays_ready_while_another_model_loads() -> None:
    async def story(watcher: Watcher, database: AspiringDatabase, told: Told) -> None:
        told.waiting = "The live version is being loaded: default."
        await watcher.first_look.wait()
        await until(lambda: len(told.calls) >= 3)
        assert watcher.missing() == told.waiting
        told.waiting = None
        looks = len(told.calls)
        await until(lambda: len(told.calls) > looks + 1)
        told.waiting = "The live version is being loaded: second."
        assert watcher.missing() is None

    run(story, interval_s=0.01)


def test_it_looks_again_and_again() -> None:
    async def story(watcher: Watcher, database: AspiringDatabase, told: Told) -> None:
        await until(lambda: len(told.calls) >= 3)

    run(story, interval_s=0.01)


def test_while_the_database_fails_the_last_answer_counts() -> None:
    async def story(watcher: Watcher, database: AspiringDatabase, told: Told) -> None:
        await watcher.first_look.wait()
        database.failing = True
        looks = database.looks
        await until(lambda: database.looks >= looks + 3)
        assert all(call[0] == ["default"] for call in told.calls)
        assert watcher.missing() is None

    run(story, interval_s=0.01)


def test_a_database_that_fails_from_the_start_leaves_the_service_unready() -> None:
    async def tell() -> None:
        database, told = AspiringDatabase(), Told()
        database.failing = True
        watcher = Watcher(database, told, settings(poll_interval_s=0.01))
        watching = asyncio.create_task(watcher.run())
        await until(lambda: database.looks >= 2)
        assert told.calls == []
        assert "does not answer" in str(watcher.missing())
        database.failing = False
        await watcher.first_look.wait()
        watching.cancel()
        await asyncio.wait([watching])

    asyncio.run(tell())


def test_a_look_without_a_loop_is_no_error() -> None:
    async def tell() -> Watcher:
        watcher = Watcher(AspiringDatabase(), Told(), settings(poll_interval_s=60))
        watcher.look_now()
        watching = asyncio.create_task(watcher.run())
        await watcher.first_look.wait()
        watching.cancel()
        await asyncio.wait([watching])
        return watcher

    asyncio.run(tell()).look_now()
