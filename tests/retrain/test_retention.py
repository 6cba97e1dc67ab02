"""What retention removes, what it leaves alone, and that it may be killed anywhere."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import database_records
import orchard
import pytest
import stocked_home
from stocked_home import StockedHome

from contract.errors import DatabaseUnavailable
from contract.keys import AuditAction
from contract.ports import RESTORE_MARK
from contract.records import Aspiration, ChangeKind, Version
from retrain.retention import AGAIN_S, EVERY_S, Freed, Retention, spare

JOB = database_records.job()


def version(number: int, **changes: object) -> Version:
    return replace(database_records.version(JOB, number), **changes)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("keep", "numbers"),
    [(1, [4, 3]), (2, [4, 3]), (3, [3]), (10, [])],
)
def test_the_newest_the_needed_and_the_pinned_stay(keep: int, numbers: list[int]) -> None:
    versions = [
        version(7),
        version(6, pruned_at=database_records.START),
        version(5, pinned=True),
        version(4),
        version(3),
        version(2),
        version(1),
    ]
    needed = [version(2), version(1), version(4, model="other")]
    assert [one.number for one in spare(versions, needed, keep)] == numbers


def retention(stocked: StockedHome, *, keep: int = 10, clock: Callable[[], float] = lambda: 0.0) -> Retention:
    return Retention(stocked.planted.database, stocked.planted.storage, keep_versions=keep, clock=clock)


def folders(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "storage/models/default").iterdir())


def make_old(folder: Path) -> None:
    """As if everything below was written two hours ago."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (time.time() - 7200, time.time() - 7200))


@pytest.fixture
def stocked(tmp_path: Path) -> StockedHome:
    """Version 5 is live, 2 would come back."""
    stocked = stocked_home.stock(tmp_path / "home", versions=5)
    for number in (2, 5):
        stocked.planted.database.promote("default", number, kind=ChangeKind.MANUAL, reason="a test")
    return stocked


def test_versions_beyond_the_newest_lose_their_files_and_keep_their_rows(stocked: StockedHome) -> None:
    database = stocked.planted.database
    database.pin_version("default", 1, pinned=True)
    freed = retention(stocked, keep=1).run()
    assert folders(stocked.home) == ["1", "2", "5"]
    assert (freed.versions, freed.folders, freed.objects) == (2, 2, 0)
    assert freed.bytes > 10_000
    assert [one.number for one in database.list_versions("default")] == [5, 4, 3, 2, 1]
    pruned = [entry for entry in database.list_audit() if entry.action is AuditAction.VERSION_PRUNED]
    assert [(entry.actor, entry.subject) for entry in pruned] == [
        ("retention", "default/3"),
        ("retention", "default/4"),
    ]
    assert retention(stocked, keep=1).run() == Freed()
    assert database.rollback("default", reason="").version == 2


def test_what_a_kill_between_row_and_folder_left_goes_with_the_next_run(stocked: StockedHome) -> None:
    stocked.planted.database.prune_version("default", 1)
    assert retention(stocked).run().folders == 1
    assert folders(stocked.home) == ["2", "3", "4", "5"]


def test_leftovers_go_once_they_are_old(stocked: StockedHome) -> None:
    storage = stocked.planted.storage
    storage.put("examples/default/ab/" + "ab" * 32, b"no row")
    storage.put("examples/gone/ab/" + "ab" * 32, b"no model")
    storage.local_folder("models/default/1").rename(stocked.home / "storage/models/default/9")
    (stocked.home / "storage/models/gone/1").mkdir(parents=True)
    (stocked.home / "storage/models/gone/1/manifest.json").touch()
    assert retention(stocked).run() == Freed()  # an upload or a publication may be under way
    make_old(stocked.home / "storage")
    storage.put(RESTORE_MARK, b"")  # of a restore that was killed after its rows were in
    freed = retention(stocked).run()
    assert (freed.objects, freed.folders) == (2, 2)
    kept = {one.key for one in storage.list_objects("examples")}
    assert kept == {one.storage_key for one in stocked.planted.database.list_examples("default")}
    assert folders(stocked.home) == ["2", "3", "4", "5"]


def test_an_image_that_is_added_while_its_leftover_is_removed_stays(stocked: StockedHome) -> None:
    """The row comes after retention has looked for it, and before the object goes."""
    database, storage = stocked.planted.database, stocked.planted.storage
    again = database.list_examples("default")[0]
    data = storage.get(again.storage_key)
    database.delete_example("default", again.id)
    make_old(stocked.home / "storage")

    class Racing:
        def __getattr__(self, name: str) -> object:
            return getattr(storage, name)

        def delete(self, key: str) -> None:
            if key == again.storage_key:
                database.add_example(replace(again, id=f"{time.time_ns():016x}00000000"))
            storage.delete(key)

    Retention(database, Racing(), keep_versions=10, clock=lambda: 0.0).run()  # type: ignore[arg-type]  # by its methods
    assert storage.get(again.storage_key) == data


def test_a_version_that_a_running_job_may_measure_stays(stocked: StockedHome) -> None:
    stocked.planted.claim()
    assert retention(stocked, keep=1).run() == Freed()


def test_a_version_that_goes_live_meanwhile_stays(stocked: StockedHome) -> None:
    database = stocked.planted.database

    class Late:
        """Declares a version live after what is needed was read."""

        def __getattr__(self, name: str) -> object:
            return getattr(database, name)

        def aspirations(self) -> list[Aspiration]:
            needed = database.aspirations()
            database.promote("default", 3, kind=ChangeKind.MANUAL, reason="a person's choice")
            return needed

    Retention(Late(), stocked.planted.storage, keep_versions=1, clock=lambda: 0.0).run()  # type: ignore[arg-type]  # as above
    assert folders(stocked.home) == ["2", "3", "5"]
    assert database.get_version("default", 3).pruned_at is None


def test_it_runs_at_once_then_hourly_or_after_a_job_and_soon_after_a_failure(stocked: StockedHome) -> None:
    database, now = stocked.planted.database, 0.0
    runs: list[float] = []

    class Counting:
        away = False

        def __getattr__(self, name: str) -> object:
            return getattr(database, name)

        def aspirations(self) -> list[Aspiration]:
            runs.append(now)
            if self.away:
                raise DatabaseUnavailable("away")
            return database.aspirations()

    counting = Counting()
    turns = Retention(counting, stocked.planted.storage, keep_versions=9, clock=lambda: now)  # type: ignore[arg-type]
    for now in (0.0, 1.0, EVERY_S - 1, EVERY_S):  # noqa: B007  # the clock reads it
        turns.run_if_due()
    assert runs == [0.0, EVERY_S]
    now = EVERY_S + 5
    turns.hasten()
    counting.away = True
    turns.run_if_due()
    counting.away = False
    for now in (EVERY_S + 6, EVERY_S + 5 + AGAIN_S):  # noqa: B007  # the same
        turns.run_if_due()
    assert runs[2:] == [EVERY_S + 5, EVERY_S + 5 + AGAIN_S]


def test_what_a_restore_stores_before_its_rows_stays(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {})
    planted.storage.put("examples/default/ab/" + "ab" * 32, b"its row comes last")
    planted.storage.put(RESTORE_MARK, b"")
    make_old(tmp_path / "storage")
    guard = Retention(planted.database, planted.storage, keep_versions=1, clock=time.monotonic)
    assert guard.run() == Freed()
    planted.storage.delete(RESTORE_MARK)
    assert guard.run().objects == 1
