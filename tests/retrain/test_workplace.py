"""A job's folder, and what a killed job may have left behind."""

import os
import time
from pathlib import Path

import orchard
from orchard import Orchard

from contract.artifact import MANIFEST
from contract.records import JobState
from retrain.workplace import Workplace, all_workplaces


def publish_unrecorded(planted: Orchard, workplace: Workplace, number: int) -> Path:
    """What a job leaves that is killed between publishing and recording."""
    workplace.staging(1).mkdir()
    (workplace.staging(1) / MANIFEST).write_text("{}")
    workplace.remember(number)
    planted.storage.publish_folder(workplace.staging(1), f"models/default/{number}")
    return planted.storage.local_folder(f"models/default/{number}")


def test_opening_leaves_an_earlier_attempt_what_it_writes_to(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path, "job")
    workplace.open("default")
    workplace.staging(1).mkdir()
    workplace.remember(3)
    workplace.open("default")
    assert workplace.staging(1).exists()
    assert not workplace.staging(2).exists()
    assert b"[3]" in (workplace.folder / "job.json").read_bytes()


def test_an_unrecorded_version_is_withdrawn(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {})
    workplace = Workplace(tmp_path, planted.claim().id)
    workplace.open("default")
    folder = publish_unrecorded(planted, workplace, 1)
    workplace.withdraw_unrecorded(planted.database, planted.storage)
    assert not folder.exists()


def test_only_ended_jobs_are_cleaned_up(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {})
    job = planted.claim()
    workplace = Workplace(tmp_path, job.id)
    workplace.open("default")
    folder = publish_unrecorded(planted, workplace, 1)
    Workplace(tmp_path, "unknown").open("default")
    (tmp_path / "work" / "empty").mkdir()
    os.utime(tmp_path / "work" / "empty", times=(time.time() - 90,) * 2)
    (tmp_path / "work" / "opening").mkdir()
    for found in all_workplaces(tmp_path):
        found.remove_if_ended(planted.database, planted.storage)
    assert {found.job_id for found in all_workplaces(tmp_path)} == {job.id, "opening"}
    assert folder.exists()
    planted.database.end_job(job.id, attempt=1, state=JobState.FAILED, failure=None)
    workplace.remove_if_ended(planted.database, planted.storage)
    assert [found.job_id for found in all_workplaces(tmp_path)] == ["opening"]
    assert not folder.exists()


def test_what_a_job_of_a_deleted_model_left_goes_too(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {})
    job = planted.claim()
    workplace = Workplace(tmp_path, job.id)
    workplace.open("default")
    folder = publish_unrecorded(planted, workplace, 1)
    planted.database.end_job(job.id, attempt=1, state=JobState.FAILED, failure=None)
    planted.database.delete_model("default")
    workplace.remove_if_ended(planted.database, planted.storage)
    assert not folder.exists()
    assert not workplace.folder.exists()
