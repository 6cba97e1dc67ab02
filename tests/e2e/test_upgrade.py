"""A home of the first release is started by this one: it is migrated, serves, and learns on."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import first_home
import pytest
import service_process
import tiny_version
from first_home import BIASES, LIVE, NEXT, PREVIOUS, WAITING_JOB
from service_process import Process, started

from backends.database_schema import REVISION
from contract import artifact

SILENCE_S = 60.0
pytestmark = pytest.mark.e2e


@contextmanager
def worker(home: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m retrain worker` on the home."""
    variables = {**os.environ, "RIPEN_HOME": str(home), "RIPEN_LIFELINE": "1"}
    command = [sys.executable, "-m", "retrain", "worker"]
    with log.open("w") as output:
        popen = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=output, stderr=output)
    try:
        yield popen
    finally:
        assert popen.stdin is not None
        popen.stdin.close()  # its lifeline
        popen.wait(30)


@pytest.mark.timeout(600)  # the training has the lowest priority: beside other tests it takes its time
def test_home_of_the_first_release_serves_and_learns(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first_home.write(home)
    with started(home) as process:
        process.wait_for(process.ready)
        assert _predict(process) == (LIVE, pytest.approx(_expected(LIVE), abs=1e-4))
        listed = process.client.get("/api/v1/versions").json()
        assert listed["live"] == LIVE
        assert {row["version"] for row in listed["versions"]} == set(BIASES)
        assert process.client.get("/api/v1/examples").json()["examples"]
        with worker(home, tmp_path / "worker.log") as working:
            _wait_for_the_end(process, working)
        assert _job_state(process) == "succeeded", (tmp_path / "worker.log").read_text()
        process.wait_for(lambda: _predict(process)[0] == NEXT)
        for expected in (LIVE, PREVIOUS):
            process.client.post("/api/v1/versions:rollback", json={}).raise_for_status()
            process.wait_for(lambda expected=expected: _predict(process)[0] == expected)  # type: ignore[misc]  # a loop's lambda


@pytest.mark.parametrize(
    ("command", "status"),
    [(["service"], 1), (["service", "keys", "list"], 1), (["retrain", "worker"], 75)],
    ids=["service", "command", "worker"],
)
def test_newer_schema_is_refused_in_one_line(tmp_path: Path, command: list[str], status: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    first_home.write_database(home / "ripen.db")
    with closing(sqlite3.connect(home / "ripen.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=service_process.environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == status
    assert f"9999, made by a newer release; this one knows {REVISION}. Install that release" in line


def test_manifest_of_the_first_release_is_read(tmp_path: Path) -> None:
    first_home.write_manifest(tmp_path / "version")
    manifest = artifact.read_manifest(tmp_path / "version")
    assert (manifest.version, manifest.classes) == (1, ("apple", "orange"))
    assert len(manifest.golden.files) == 4


def _predict(process: Process) -> tuple[int, float]:
    headers = {"content-type": "image/jpeg"}
    answer = process.client.post("/api/v1/predict", content=tiny_version.picture(1), headers=headers).json()
    return answer["model"]["version"], answer["predictions"][0]["probability"]


def _expected(number: int) -> float:
    return tiny_version.expected(BIASES[number], tiny_version.picture(1))


def _wait_for_the_end(process: Process, working: "subprocess.Popen[bytes]") -> None:
    """The service says when; asking again and again would take the training's processor time."""
    with process.client.stream("GET", f"/api/v1/jobs/{WAITING_JOB}/events", timeout=SILENCE_S) as events:
        for _ in events.iter_lines():  # one comes every 10 s, whatever happens
            assert working.poll() is None, "the worker ended, see worker.log"


def _job_state(process: Process) -> str:
    return str(process.client.get(f"/api/v1/jobs/{WAITING_JOB}").json()["state"])
