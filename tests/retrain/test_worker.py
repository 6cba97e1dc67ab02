"""The worker: claims, watches a child, and records the ends that the child could not."""

import logging
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orchard
import pytest
from orchard import Orchard

from backends.database import SqlDatabase
from contract.errors import DatabaseUnavailable, StorageUnavailable, TrainingFailed
from contract.records import Failure, Job, JobState
from retrain.retention import Freed, Retention
from retrain.worker import TRY_AGAIN, Claiming, Worker
from retrain.workplace import Workplace

LEASE_S = 1.0  # a heartbeat at every poll

Script = Callable[[Job], int | None]


class FakeChild:
    """A job's process: `script` runs at every poll and gives the exit status, or None while it goes on."""

    def __init__(self, job: Job, script: Script) -> None:
        self._job = job
        self._script = script
        self.stopped = False

    def poll(self) -> int | None:
        return self._script(self._job)

    def stop(self, *, grace_s: float) -> None:
        assert grace_s <= 2
        self.stopped = True


class FakeEngine:
    def __init__(self, script: Script) -> None:
        self.children: list[FakeChild] = []
        self._script = script

    def launch(self, job: Job) -> FakeChild:
        self.children.append(FakeChild(job, self._script))
        return self.children[-1]


class Setting:
    """A worker over a real database whose clock the test holds."""

    def __init__(self, home: Path, script: Script, database: type[SqlDatabase] = SqlDatabase) -> None:
        self.now_s = 1_000_000.0
        self.planted: Orchard = orchard.plant(home, {})
        self.database = database(f"sqlite:///{home}/ripen.db", clock=lambda: self.now_s)
        self.engine = FakeEngine(script)
        claiming = Claiming("test:1", LEASE_S, 3)
        self.retention = Retention(self.database, self.planted.storage, keep_versions=10, clock=lambda: self.now_s)
        self.worker = Worker(
            self.database,
            self.planted.storage,
            engine=self.engine,
            home=home,
            claiming=claiming,
            retention=self.retention,
        )
        self.job = self.planted.queue()

    def state(self) -> tuple[JobState, Failure | None]:
        job = self.planted.job(self.job)
        return job.state, job.failure


@pytest.mark.parametrize(
    ("status", "words"), [(-9, "killed by signal 9; .* want of memory"), (1, "exit status 1 before"), (0, "status 0")]
)
def test_a_child_that_dies_fails_its_job(tmp_path: Path, status: int, words: str) -> None:
    setting = Setting(tmp_path, lambda _: status)
    assert setting.worker.do_next()
    state, failure = setting.state()
    assert state is JobState.FAILED
    assert failure is not None
    assert failure.code == "job_crashed"
    assert re.search(words, failure.message)
    assert not setting.worker.do_next()


def test_an_end_that_the_child_recorded_stays(tmp_path: Path) -> None:
    def end_itself(job: Job) -> int:
        setting.database.end_job(job.id, attempt=1, state=JobState.FAILED, failure=Failure("invalid_dataset", "few"))
        return 0

    setting = Setting(tmp_path, end_itself)
    setting.worker.do_next()
    assert setting.state() == (JobState.FAILED, Failure("invalid_dataset", "few"))


def test_a_cancelled_job_is_stopped_and_its_staging_gone_before_it_shows(tmp_path: Path) -> None:
    class Watching(SqlDatabase):
        def end_job(self, job_id: str, *, attempt: int, state: JobState, failure: Failure | None) -> Job:
            assert not Workplace(tmp_path, job_id).folder.exists()
            return super().end_job(job_id, attempt=attempt, state=state, failure=failure)

    def train_until_cancelled(job: Job) -> None:
        workplace = Workplace(tmp_path, job.id)
        workplace.open(job.model)
        workplace.staging(job.attempt).mkdir()
        setting.database.request_cancel(job.model, job.id)

    setting = Setting(tmp_path, train_until_cancelled, Watching)
    setting.worker.do_next()
    assert setting.state() == (JobState.CANCELLED, None)
    assert setting.engine.children[0].stopped


def test_a_cancellation_that_the_child_noticed_first_is_no_crash(tmp_path: Path) -> None:
    def leave(job: Job) -> int:
        setting.database.request_cancel(job.model, job.id)
        return 0

    setting = Setting(tmp_path, leave)
    setting.worker.do_next()
    assert setting.state() == (JobState.CANCELLED, None)


def test_a_busy_worker_ends_the_cancelled_job_of_a_lost_one(tmp_path: Path) -> None:
    def lose_another(job: Job) -> int | None:
        polls.append(job)
        if len(polls) == 1:
            setting.database.create_model("other", orchard.CLASSES)
            setting.database.create_job(other)
            setting.database.claim_job(owner="lost:2", lease_s=600, max_attempts=3)
            assert setting.database.request_cancel("other", other.id).cancel_requested
            setting.now_s += 3
        return 1 if len(polls) > 6 or setting.database.get_job("other", other.id).state.ended else None

    polls: list[Job] = []
    setting = Setting(tmp_path, lose_another)
    other = replace(setting.job, id=uuid.uuid4().hex, model="other")
    setting.worker.do_next()
    assert setting.database.get_job("other", other.id).state is JobState.CANCELLED
    assert setting.planted.job(setting.job).attempt == 1


def test_a_lost_lease_stops_the_child_and_changes_nothing(tmp_path: Path) -> None:
    def be_late(job: Job) -> None:
        setting.now_s += 2 * LEASE_S
        assert setting.database.claim_job(owner="other:2", lease_s=600, max_attempts=3) is not None

    setting = Setting(tmp_path, be_late)
    assert setting.worker.do_next()
    assert setting.engine.children[0].stopped
    job = setting.planted.job(setting.job)
    assert (job.state, job.attempt) == (JobState.RUNNING, 2)


def test_heartbeats_keep_the_lease(tmp_path: Path) -> None:
    def take_long(_: Job) -> int | None:
        setting.now_s += 0.9 * LEASE_S
        assert setting.database.claim_job(owner="other:2", lease_s=600, max_attempts=3) is None
        return 1 if setting.now_s > 1_000_004 else None

    setting = Setting(tmp_path, take_long)
    setting.worker.do_next()
    assert setting.planted.job(setting.job).attempt == 1


def test_a_stopped_worker_frees_its_job_at_once(tmp_path: Path) -> None:
    setting = Setting(tmp_path, lambda _: setting.worker.stop())
    setting.worker.run()
    assert setting.engine.children[0].stopped
    again = setting.database.claim_job(owner="other:2", lease_s=600, max_attempts=1)  # no attempt was used up
    assert again is not None
    assert (again.id, again.attempt) == (setting.job.id, 2)


def test_a_child_that_could_not_reach_the_database_leaves_its_job_to_the_lease(tmp_path: Path) -> None:
    setting = Setting(tmp_path, lambda _: TRY_AGAIN)
    setting.worker.do_next()
    assert setting.state()[0] is JobState.RUNNING
    setting.now_s += 2 * LEASE_S
    assert setting.worker.do_next()
    assert len(setting.engine.children) == 2


def test_a_database_that_is_away_for_a_moment_does_not_stop_the_child(tmp_path: Path) -> None:
    class Stuttering(SqlDatabase):
        beats = 0

        def heartbeat(self, job_id: str, *, attempt: int, lease_s: float) -> Job:
            self.beats += 1
            if self.beats == 1:
                raise DatabaseUnavailable("locked")
            return super().heartbeat(job_id, attempt=attempt, lease_s=lease_s)

    def end_after_two_beats(job: Job) -> int | None:
        if getattr(setting.database, "beats", 0) < 2:
            return None
        setting.database.end_job(job.id, attempt=1, state=JobState.FAILED, failure=Failure("own", "end"))
        return 0

    setting = Setting(tmp_path, end_after_two_beats, Stuttering)
    setting.worker.do_next()
    assert setting.state() == (JobState.FAILED, Failure("own", "end"))


def test_the_loop_survives_whatever_claiming_raises(tmp_path: Path) -> None:
    class Failing(SqlDatabase):
        errors: list[Exception]

        def claim_job(self, *, owner: str, lease_s: float, max_attempts: int) -> Job | None:
            if self.errors:
                raise self.errors.pop()
            return super().claim_job(owner=owner, lease_s=lease_s, max_attempts=max_attempts)

    def end_and_stop(_: Job) -> int:
        setting.worker.stop()
        return 1

    setting = Setting(tmp_path, end_and_stop, Failing)
    assert isinstance(setting.database, Failing)
    setting.database.errors = [ZeroDivisionError("a defect"), DatabaseUnavailable("locked")]
    setting.worker.run()
    assert setting.state()[0] is JobState.FAILED


def test_a_process_that_cannot_start_fails_the_job(tmp_path: Path) -> None:
    def refuse(_: Job) -> FakeChild:
        raise TrainingFailed("no such program")

    setting = Setting(tmp_path, lambda _: None)
    setting.engine.launch = refuse  # type: ignore[method-assign]  # the fake's one behaviour, replaced
    setting.worker.do_next()
    assert setting.state() == (JobState.FAILED, Failure("training_failed", "no such program"))


def test_starting_sweeps_what_ended_jobs_left(tmp_path: Path) -> None:
    setting = Setting(tmp_path, lambda _: setting.worker.stop())
    Workplace(tmp_path, "gone").open("default")
    setting.worker.run()
    assert not (tmp_path / "work" / "gone").exists()


def test_a_job_that_somebody_else_ended_is_swept_between_jobs(tmp_path: Path) -> None:
    setting = Setting(tmp_path, lambda _: None)
    job = setting.database.claim_job(owner="lost:2", lease_s=LEASE_S, max_attempts=3)
    assert job is not None
    workplace = Workplace(tmp_path, job.id)
    workplace.open(job.model)
    assert not setting.worker.do_next()
    assert workplace.folder.exists()
    setting.now_s += LEASE_S
    assert setting.database.request_cancel(job.model, job.id).state is JobState.CANCELLED
    assert not setting.worker.do_next()
    assert not workplace.folder.exists()


def test_a_folder_that_cannot_be_swept_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(key: str) -> None:
        raise StorageUnavailable(f"no answer for {key}")

    setting = Setting(tmp_path, lambda _: 1)
    setting.worker.do_next()
    Workplace(tmp_path, "gone").open("default")
    Workplace(tmp_path, "gone").remember(7)
    setting.planted.storage.delete_folder = refuse  # type: ignore[method-assign]  # a storage that is away
    with caplog.at_level(logging.WARNING):
        assert [setting.worker.do_next() for _ in range(3)] == [False] * 3
    assert caplog.text.count("stays for now") == 1


def test_the_worker_never_loads_tensorflow() -> None:
    program = "import sys, retrain.__main__; sys.exit(bool({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_retention_runs_after_a_job_and_never_during_one(tmp_path: Path) -> None:
    setting = Setting(tmp_path, lambda _: 1)
    states: list[JobState] = []

    def run() -> Freed:
        states.append(setting.state()[0])
        if states[-1].ended:
            setting.worker.stop()
        return Freed()

    setting.retention.run = run  # type: ignore[method-assign]  # only when it runs is looked at here
    setting.retention.run_if_due()  # at the start
    setting.worker.run()
    assert states == [JobState.QUEUED, JobState.FAILED]
