"""Publishing beside another attempt of the same job; `test_retrain_job` publishes what was trained."""

from pathlib import Path

import database_records
import orchard
import pytest
from orchard import Orchard

from contract.artifact import MANIFEST
from contract.errors import LeaseLost
from contract.records import Job, Version
from retrain.publish import Publisher
from retrain.workplace import Workplace


def stage(planted: Orchard, job: Job) -> Version:
    """What `Publisher.stage` leaves: a folder of this attempt, and a number of its own."""
    workplace = Workplace(planted.home, job.id)
    workplace.open(job.model)
    workplace.staging(job.attempt).mkdir()
    (workplace.staging(job.attempt) / MANIFEST).write_text("{}")
    return database_records.version(job, planted.database.allocate_version(job.id, attempt=job.attempt))


def test_an_attempt_that_lost_its_lease_withdraws_only_its_own_version(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {})
    job = planted.claim()
    workplace = Workplace(tmp_path, job.id)
    publisher = Publisher(planted.database, planted.storage, workplace)
    late = stage(planted, job)
    planted.database.release_job(job.id, attempt=1)
    again = planted.database.claim_job(owner="other:2", lease_s=600, max_attempts=3)
    assert again is not None
    newer = stage(planted, again)
    workplace.remember(newer.number)
    planted.storage.publish_folder(workplace.staging(again.attempt), newer.storage_key)
    with pytest.raises(LeaseLost):
        publisher.release(late, job, promote=True)
    published = tmp_path / "storage" / "models" / "default"
    assert [path.name for path in published.iterdir()] == [str(newer.number)]
    assert planted.database.record_version(newer, attempt=again.attempt, promote=True).version == newer.number
