"""What every `contract.ports.Database` must do with jobs: queue, claim, lease, cancel, end.

A test module subclasses the class and gives the fixtures `database` (migrated, with a model `fruit`) and `clock`.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from database_records import START, VERDICT, Clock, claimed, job, published, version

from contract.errors import IdempotencyConflict, JobFinished, LeaseLost, UnknownJob
from contract.ports import Database
from contract.recipe import Recipe
from contract.records import Failure, GatePolicy, Job, JobState, Progress
from contract.training import Epoch

PROGRESS = Progress(
    step="train",
    fraction=0.5,
    eta_s=3.5,
    epoch=1,
    epochs=15,
    message="head",
    warnings=("a warning",),
    history=(Epoch(1, "head", 0.7, 0.5, None, None, 1.25),),
)


class JobSuite:
    """Jobs."""

    def test_job_comes_back_as_it_was(self, database: Database) -> None:
        queued = replace(job(key="k1", recipe=Recipe(backbone="VGG16", alpha=None, learning_rate=1e-4)), dry_run=True)
        assert database.create_job(queued) == (queued, True)
        assert database.get_job("fruit", queued.id) == queued
        assert database.count_jobs() == {("fruit", JobState.QUEUED): 1}

    def test_same_key_is_the_same_job(self, database: Database) -> None:
        first, _ = database.create_job(job(key="k1"))
        assert database.create_job(job(key="k1")) == (first, False)
        assert database.create_job(job())[1]
        with pytest.raises(IdempotencyConflict, match=f"'k1'.*{first.id}"):
            database.create_job(job(key="k1", recipe=Recipe(seed=1)))
        with pytest.raises(IdempotencyConflict):
            database.create_job(replace(job(key="k1"), gate_policy=GatePolicy.ALWAYS))
        with pytest.raises(IdempotencyConflict):
            database.create_job(replace(job(key="k1"), dry_run=True))
        database.create_model("other", ("a", "b"))
        assert database.create_job(job("other", key="k1"))[1]

    def test_same_key_at_the_same_time_is_one_job(self, database: Database) -> None:
        barrier = threading.Barrier(8)

        def create(_: int) -> tuple[Job, bool]:
            barrier.wait()
            return database.create_job(job(key="k1"))

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(create, range(8)))
        assert len({made.id for made, _ in answers}) == 1
        assert sum(is_new for _, is_new in answers) == 1
        assert len(database.list_jobs("fruit")) == 1

    def test_newest_first(self, database: Database) -> None:
        made = [database.create_job(job())[0] for _ in range(3)]
        assert database.list_jobs("fruit") == made[::-1]
        assert database.list_jobs("fruit", limit=2) == made[:0:-1]

    def test_claim_takes_the_oldest(self, database: Database, clock: Clock) -> None:
        assert _claim(database) is None
        newer = job()
        older = replace(job(), created_at=START - timedelta(seconds=1))
        for made in (newer, older):
            database.create_job(made)
        clock.advance(5)
        running = _claim(database)
        assert running == replace(older, state=JobState.RUNNING, attempt=1, started_at=START + timedelta(seconds=5))
        assert database.get_job("fruit", older.id) == running

    def test_one_job_at_a_time_per_model(self, database: Database) -> None:
        database.create_model("other", ("a", "b"))
        running = claimed(database)
        database.create_job(job())
        other, _ = database.create_job(job("other"))
        assert _id(_claim(database)) == other.id
        assert _claim(database) is None
        database.end_job(running.id, attempt=1, state=JobState.CANCELLED, failure=None)
        assert _claim(database) is not None

    def test_expired_job_is_claimed_again_before_the_queue(self, database: Database, clock: Clock) -> None:
        running = claimed(database, lease_s=10)
        database.create_job(replace(job(), created_at=START - timedelta(days=1)))
        clock.advance(9.9)
        assert _claim(database) is None
        clock.advance(0.1)
        again = _claim(database)
        assert (_id(again), again and again.attempt) == (running.id, 2)
        assert again is not None
        assert again.started_at == running.started_at
        assert _claim(database) is None

    def test_heartbeat_extends_the_lease(self, database: Database, clock: Clock) -> None:
        running = claimed(database, lease_s=10)
        clock.advance(9)
        assert database.heartbeat(running.id, attempt=1, lease_s=10) == running
        clock.advance(9)
        assert _claim(database) is None

    def test_heartbeat_of_an_expired_lease_that_nobody_took_counts(self, database: Database, clock: Clock) -> None:
        running = claimed(database, lease_s=10)
        clock.advance(60)
        database.heartbeat(running.id, attempt=1, lease_s=10)
        assert _claim(database) is None

    def test_used_up_attempts_fail_the_job(self, database: Database, clock: Clock) -> None:
        running = claimed(database)
        following, _ = database.create_job(job())
        clock.advance(20)
        assert _id(_claim(database, max_attempts=2)) == running.id
        clock.advance(20)
        assert _id(_claim(database, max_attempts=2)) == following.id
        failed = database.get_job("fruit", running.id)
        assert failed.state is JobState.FAILED
        assert failed.failure is not None
        assert failed.failure.code == "attempts_exhausted"
        assert "2 times" in failed.failure.message
        assert failed.finished_at == START + timedelta(seconds=40)

    def test_released_job_is_claimed_again_however_often(self, database: Database, clock: Clock) -> None:
        running = claimed(database)
        for attempt in (1, 2, 3):
            database.release_job(running.id, attempt=attempt)
            again = _claim(database, max_attempts=1)
            assert again == replace(running, attempt=attempt + 1)
        _assert_fenced(database, running)
        clock.advance(20)
        assert _claim(database, max_attempts=1) is None
        assert database.get_job("fruit", running.id).state is JobState.FAILED

    def test_cancellation_shortens_the_lease(self, database: Database, clock: Clock) -> None:
        running = claimed(database, lease_s=60)
        database.request_cancel("fruit", running.id)
        clock.advance(2.9)
        assert database.heartbeat(running.id, attempt=1, lease_s=60).cancel_requested
        database.end_expired_cancellations()
        assert database.get_job("fruit", running.id).state is JobState.RUNNING
        clock.advance(0.1)
        database.end_expired_cancellations()
        assert database.get_job("fruit", running.id).state is JobState.CANCELLED
        _assert_fenced(database, running)

    def test_cancellation_never_extends_the_lease(self, database: Database, clock: Clock) -> None:
        running = claimed(database, lease_s=1)
        database.request_cancel("fruit", running.id)
        clock.advance(1)
        database.end_expired_cancellations()
        assert database.get_job("fruit", running.id).state is JobState.CANCELLED

    def test_only_expired_cancellations_are_ended(self, database: Database, clock: Clock) -> None:
        database.create_model("other", ("a", "b"))
        lost, cancelled = claimed(database), claimed(database, model="other")
        database.request_cancel("other", cancelled.id)
        queued, _ = database.create_job(job())
        clock.advance(20)
        database.end_expired_cancellations()
        assert database.get_job("other", cancelled.id).finished_at == START + timedelta(seconds=20)
        assert database.get_job("fruit", lost.id).state is JobState.RUNNING
        assert database.get_job("fruit", queued.id) == queued

    def test_expired_job_with_a_cancellation_is_cancelled(self, database: Database, clock: Clock) -> None:
        running = claimed(database)
        database.request_cancel("fruit", running.id)
        following, _ = database.create_job(job())
        clock.advance(20)
        assert _id(_claim(database)) == following.id
        assert database.get_job("fruit", running.id).state is JobState.CANCELLED

    def test_progress(self, database: Database) -> None:
        running = claimed(database)
        database.report_progress(running.id, attempt=1, progress=PROGRESS)
        assert database.get_job("fruit", running.id).progress == PROGRESS

    def test_cancel(self, database: Database, clock: Clock) -> None:
        running = claimed(database)
        queued, _ = database.create_job(job())
        cancelled = database.request_cancel("fruit", queued.id)
        assert cancelled == replace(queued, state=JobState.CANCELLED, finished_at=START)
        assert database.request_cancel("fruit", queued.id) == cancelled
        marked = database.request_cancel("fruit", running.id)
        assert marked == replace(running, cancel_requested=True)
        assert database.heartbeat(running.id, attempt=1, lease_s=10).cancel_requested
        clock.advance(20)
        assert database.request_cancel("fruit", running.id).state is JobState.CANCELLED
        with pytest.raises(UnknownJob):
            database.request_cancel("fruit", "nothing")

    def test_cancel_of_an_ended_job(self, database: Database) -> None:
        made = published(database)
        with pytest.raises(JobFinished, match="succeeded"):
            database.request_cancel("fruit", made.job_id)
        running = claimed(database)
        database.end_job(running.id, attempt=1, state=JobState.FAILED, failure=Failure("boom", "It broke."))
        with pytest.raises(JobFinished, match="failed"):
            database.request_cancel("fruit", running.id)

    def test_requested_cancellation_wins(self, database: Database) -> None:
        running = claimed(database)
        database.request_cancel("fruit", running.id)
        for write in _writes(database, running):
            with pytest.raises(LeaseLost, match="cancellation won"):
                write()
        ended = database.end_job(running.id, attempt=1, state=JobState.CANCELLED, failure=None)
        assert ended.state is JobState.CANCELLED
        assert database.list_versions("fruit") == []

    def test_worker_that_lost_its_lease_changes_nothing(self, database: Database, clock: Clock) -> None:
        running = claimed(database)
        clock.advance(20)
        again = _claim(database)
        assert again is not None
        _assert_fenced(database, running)
        assert database.get_job("fruit", running.id) == again
        assert database.list_versions("fruit") == []
        assert database.allocate_version(running.id, attempt=2) == 1

    @pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
    def test_ended_job_takes_nothing_more(self, database: Database, state: JobState) -> None:
        running = claimed(database)
        failure = Failure("boom", "It broke.") if state is JobState.FAILED else None
        ended = database.end_job(running.id, attempt=1, state=state, failure=failure)
        assert ended == replace(running, state=state, failure=failure, finished_at=START)
        _assert_fenced(database, running)
        assert database.get_job("fruit", running.id) == ended

    def test_recorded_version_ends_the_job(self, database: Database) -> None:
        running = claimed(database)
        number = database.allocate_version(running.id, attempt=1)
        ended = database.record_version(version(running, number), attempt=1, promote=True)
        assert ended == replace(running, state=JobState.SUCCEEDED, version=1, verdict=VERDICT, finished_at=START)
        _assert_fenced(database, running)
        assert database.count_jobs() == {("fruit", JobState.SUCCEEDED): 1}

    def test_unknown_job_is_not_a_lost_lease(self, database: Database) -> None:
        with pytest.raises(UnknownJob):
            database.heartbeat("nothing", attempt=1, lease_s=1)

    def test_many_claims_at_the_same_time_take_each_job_once(self, database: Database) -> None:
        for number in range(4):
            database.create_model(f"m{number}", ("a", "b"))
            for _ in range(2):
                database.create_job(job(f"m{number}"))
        barrier = threading.Barrier(8)

        def claim(_: int) -> Job | None:
            barrier.wait()
            return _claim(database)

        with ThreadPoolExecutor(8) as pool:
            taken = [found for found in pool.map(claim, range(8)) if found]
        assert sorted(found.model for found in taken) == ["m0", "m1", "m2", "m3"]


def _claim(database: Database, *, max_attempts: int = 3) -> Job | None:
    return database.claim_job(owner="worker", lease_s=10, max_attempts=max_attempts)


def _id(found: Job | None) -> str | None:
    return found.id if found else None


def _writes(database: Database, running: Job):  # type: ignore[no-untyped-def]  # tests only iterate over it
    """What a cancellation or a later claim must refuse."""
    yield lambda: database.report_progress(running.id, attempt=running.attempt, progress=PROGRESS)
    yield lambda: database.allocate_version(running.id, attempt=running.attempt)
    yield lambda: database.record_version(version(running, 7), attempt=running.attempt, promote=True)


def _assert_fenced(database: Database, running: Job) -> None:
    for write in (
        *_writes(database, running),
        lambda: database.heartbeat(running.id, attempt=running.attempt, lease_s=60),
        lambda: database.release_job(running.id, attempt=running.attempt),
        lambda: database.end_job(running.id, attempt=running.attempt, state=JobState.CANCELLED, failure=None),
    ):
        with pytest.raises(LeaseLost, match=running.id):
            write()
