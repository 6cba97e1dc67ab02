"""What a job's row is told, and how often."""

from pathlib import Path

import orchard
import pytest

from backends.database import SqlDatabase
from contract.records import Job, Progress
from contract.training import Epoch
from retrain.progress import AFTER_TRAINING_S, Moment, Reporter


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Recording(SqlDatabase):
    """Keeps every progress that was written."""

    written: list[Progress]

    def report_progress(self, job_id: str, *, attempt: int, progress: Progress) -> None:
        super().report_progress(job_id, attempt=attempt, progress=progress)
        self.written.append(progress)


@pytest.fixture
def told(tmp_path: Path) -> tuple[Recording, Job, Clock, Reporter]:
    job = orchard.plant(tmp_path, {}).claim()
    database = Recording(f"sqlite:///{tmp_path}/ripen.db")
    database.written = []
    clock = Clock()
    return database, job, clock, Reporter(database, job, clock)


def test_moments_are_throttled_and_steps_are_not(told: tuple[Recording, Job, Clock, Reporter]) -> None:
    database, job, clock, report = told
    report.step("collect", "")
    report.step("train", "on 3 images")
    for turn in range(100):
        clock.now_s += 0.05
        report.moment(Moment(1, 2, turn / 200))
    assert 15 <= len(database.written) <= 24  # of 102
    assert database.get_job("default", job.id).progress == database.written[-1]
    assert (database.written[-1].epoch, database.written[-1].epochs) == (1, 2)


def test_time_left_comes_from_the_time_that_steps_took(told: tuple[Recording, Job, Clock, Reporter]) -> None:
    database, _, clock, report = told
    report.step("train", "")
    report.moment(Moment(1, 2, 0.0))
    clock.now_s += 10
    report.moment(Moment(1, 2, 0.25))
    assert database.written[-1].eta_s == 30.0 + AFTER_TRAINING_S  # 30 s of training and what follows it


def test_epochs_and_warnings_are_kept(told: tuple[Recording, Job, Clock, Reporter]) -> None:
    database, _, _, report = told
    report.warn("one", "two")
    report.warn()
    epoch = Epoch(1, "head", 0.5, 0.75, None, None, 1.0)
    report.epoch(epoch, Moment(1, 2, 0.5))
    report.step("judge", "")
    last = database.written[-1]
    assert (last.warnings, last.history, last.step) == (("one", "two"), (epoch,), "judge")
    fractions = [progress.fraction for progress in database.written]
    assert fractions == sorted(fractions)
