"""`python -m service` as a real process: a real version, real stops, one clear line where it cannot start."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import tiny_version

from backends.database import SqlDatabase
from backends.storage import ObjectStorage
from contract.recipe import Recipe
from contract.records import ChangeKind, GatePolicy, Job, JobState, Progress
from contract.settings import Settings

DEADLINE_S = 60.0


@dataclass
class Process:
    """One started service."""

    popen: "subprocess.Popen[str]"
    client: httpx.Client
    log: Path

    def wait_for(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + DEADLINE_S
        while not self._holds(condition):
            assert self.popen.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()

    def _holds(self, condition: Callable[[], bool]) -> bool:
        try:
            return condition()
        except httpx.TransportError:
            return False

    def ready(self) -> bool:
        return self.client.get("/readyz").status_code == 200


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def environment(home: Path, **changes: object) -> dict[str, str]:
    ours = {"RIPEN_HOME": home, "RIPEN_REST_PORT": free_port(), "RIPEN_GRPC_PORT": free_port(), **changes}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RIPEN_")}
    return {**kept, **{name: str(value) for name, value in ours.items()}}


@contextmanager
def started(home: Path, **changes: object) -> Iterator[Process]:
    variables = environment(home, RIPEN_LIFELINE=1, **changes)
    log = home.parent / "service.log"
    with log.open("w") as stderr:
        popen = subprocess.Popen(
            [sys.executable, "-m", "service"], env=variables, stdin=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{variables['RIPEN_REST_PORT']}", timeout=20) as client:
            yield Process(popen, client, log)
    finally:
        popen.kill()
        popen.wait()
        assert popen.stdin is not None
        popen.stdin.close()


def publish(home: Path, number: int, bias: float) -> float:
    """Publish and promote a tiny version; return what it answers for picture 1."""
    settings = Settings.from_environment({"RIPEN_HOME": str(home)})
    database = SqlDatabase(settings.database_url)
    database.migrate()
    database.create_model("default", ("apple", "orange"))
    job = Job(
        "j" * 31 + str(number), "default", JobState.QUEUED, Recipe(), GatePolicy.ALWAYS, Progress(), database.now()
    )
    database.create_job(job)
    assert database.claim_job(owner="test", lease_s=60, max_attempts=1) is not None
    assert database.allocate_version(job.id, attempt=1) == number
    folder = home.parent / f"version-{number}"
    manifest = tiny_version.make(folder, number=number, bias=bias)
    version = tiny_version.record(folder)
    ObjectStorage(settings.storage_url, cache=home / "cache").publish_folder(folder, version.storage_key)
    database.record_version(replace(version, job_id=job.id), attempt=1, promote=False)
    database.promote("default", number, kind=ChangeKind.MANUAL, reason="a test")
    database.close()
    return tiny_version.expected(manifest, tiny_version.picture(1))


def test_it_serves_swaps_and_stops(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = publish(home, 1, bias=-1.0)
    with started(home) as process:
        process.wait_for(process.ready)
        answer = process.client.post("/api/v1/predict", content=tiny_version.picture(1)).json()
        assert answer["model"] == {"name": "default", "version": 1}
        assert answer["predictions"][0]["probability"] == pytest.approx(first, abs=1e-3)
        second = publish(home, 2, bias=1.0)
        process.wait_for(lambda: process.client.get("/api/v1/versions").json()["live"] == 2)
        answer = process.client.post("/api/v1/predict", content=tiny_version.picture(1)).json()
        assert answer["predictions"][0]["probability"] == pytest.approx(second, abs=1e-3)
        assert process.client.post("/api/v1/versions:rollback").status_code == 200
        process.wait_for(lambda: process.client.get("/api/v1/versions").json()["live"] == 1)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(DEADLINE_S) == 0
        assert "Traceback" not in process.log.read_text()


def test_it_stops_when_its_parent_is_gone(tmp_path: Path) -> None:
    with started(tmp_path / "home") as process:
        process.wait_for(process.ready)
        assert process.client.post("/api/v1/predict", content=tiny_version.picture(1)).status_code == 409
        assert process.popen.stdin is not None
        process.popen.stdin.close()
        assert process.popen.wait(DEADLINE_S) == 0


def refused(variables: dict[str, str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "service"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return done.returncode, done.stderr.strip()


def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    status, text = refused(environment(tmp_path, RIPEN_QUEUE_SIZE="many"))
    assert status == 78
    assert text.startswith("RIPEN_QUEUE_SIZE is 'many'; expected")
    assert "\n" not in text


@pytest.mark.parametrize("setting", ["RIPEN_REST_PORT", "RIPEN_GRPC_PORT"])
def test_an_occupied_port_is_one_line(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, text = refused(environment(tmp_path, **{setting: port}))
    assert status == 1
    assert text.startswith(f"Port {port} of 127.0.0.1 is taken")
    assert setting in text
    assert "\n" not in text


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = tmp_path / "file" / "home"
    status, text = refused(environment(home))
    assert status == 1
    assert str(home) in text
    assert "RIPEN_HOME" in text
    assert "\n" not in text
