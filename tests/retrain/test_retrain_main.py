"""`python -m retrain worker` as a real process, with the process that it starts for a job."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orchard
import pytest
import tensorflow as tf
from orchard import TINY, Orchard

from contract import artifact
from contract.records import Job, JobState
from retrain.__main__ import main

DEADLINE_S = 120


def environment(home: Path, **more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RIPEN_")}
    return {**ours, "RIPEN_HOME": str(home), "RIPEN_LIFELINE": "1", **more}


@contextmanager
def worker(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "retrain", "worker"]
    with (
        (home / "worker.log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, env=environment(home)) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def wait_until_ended(planted: Orchard, job: Job) -> Job:
    deadline = time.monotonic() + DEADLINE_S
    while not (now := planted.job(job)).state.ended:
        assert time.monotonic() < deadline, (now, (planted.home / "worker.log").read_text())
        time.sleep(0.05)
    return now


def test_a_worker_does_a_job_cancels_one_and_stops_when_its_parent_goes(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.queue()
    with worker(tmp_path) as process:
        ended = wait_until_ended(planted, job)
        assert (ended.state, ended.version) == (JobState.SUCCEEDED, 1), ended.failure
        folder = planted.storage.local_folder("models/default/1")
        assert (folder / "openvino" / "f32.xml").is_file()
        endless = planted.queue(replace(TINY, tail_epochs=1000))
        deadline = time.monotonic() + DEADLINE_S
        while planted.job(endless).progress.epoch < 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        planted.database.request_cancel("default", endless.id)
        started_s = time.monotonic()
        assert wait_until_ended(planted, endless).state is JobState.CANCELLED
        assert time.monotonic() - started_s < 5
        assert list((tmp_path / "work").iterdir()) == []
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_a_job_computes_with_the_numerics_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    monkeypatch.setenv("RIPEN_HOME", str(tmp_path))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setenv("RIPEN_RUNTIME", "tensorflow")  # then nothing is converted
    tf.config.experimental.enable_tensor_float_32_execution(True)
    assert main(["run", job.id, "--model", "default", "--attempt", "1"]) == 0
    assert planted.job(job).state is JobState.SUCCEEDED
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    assert "RIPEN_RUNTIME" in artifact.read_manifest(planted.storage.local_folder("models/default/1")).conversion


def test_a_storage_that_is_away_lets_the_job_be_tried_again(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    command = [sys.executable, "-m", "retrain", "run", job.id, "--model", "default", "--attempt", "1"]
    away = environment(tmp_path, RIPEN_STORAGE_URL="file:///proc/none", RIPEN_LIFELINE="")
    done = subprocess.run(command, env=away, capture_output=True, text=True, check=False)
    assert done.returncode == 75, done.stderr
    assert planted.job(job).state is JobState.RUNNING


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"RIPEN_LEASE_S": "soon"}, 78, "RIPEN_LEASE_S is 'soon'"),
        ({"RIPEN_DATABASE_URL": "sqlite:////proc/none/ripen.db"}, 75, "/proc/none"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(tmp_path: Path, more: dict[str, str], status: int, words: str) -> None:
    command = [sys.executable, "-m", "retrain", "worker"]
    done = subprocess.run(command, env=environment(tmp_path, **more), capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
