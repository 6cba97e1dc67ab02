"""`python -m service` as a real process on free ports, and tiny versions published for it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import tiny_version
from installation import free_port

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
    grpc_address: str
    log: Path

    def wait_for(self, condition: Callable[[], bool], *, timeout_s: float = DEADLINE_S) -> None:
        until = time.monotonic() + timeout_s
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
            yield Process(popen, client, f"127.0.0.1:{variables['RIPEN_GRPC_PORT']}", log)
    finally:
        popen.kill()
        popen.wait()
        assert popen.stdin is not None
        popen.stdin.close()


def publish(
    home: Path, number: int, bias: float, *, model: str = "default", promote: bool = True, database_url: str = ""
) -> float:
    """Publish a tiny version and make it live; return what it answers for picture 1."""
    elsewhere = {"RIPEN_DATABASE_URL": database_url} if database_url else {}
    settings = Settings.from_environment({"RIPEN_HOME": str(home), **elsewhere})
    database = SqlDatabase(settings.database_url)
    database.migrate()
    database.create_model(model, ("apple", "orange"))
    job_id = f"{model}{number}".rjust(32, "j")
    job = Job(job_id, model, JobState.QUEUED, Recipe(), GatePolicy.ALWAYS, Progress(), database.now())
    database.create_job(job)
    assert database.claim_job(owner="test", lease_s=60, max_attempts=1) is not None
    assert database.allocate_version(job.id, attempt=1) == number
    folder = home.parent / f"{model}-{number}"
    manifest = tiny_version.make(folder, model=model, number=number, bias=bias)
    version = tiny_version.record(folder)
    ObjectStorage(settings.storage_url, cache=home / "cache").publish_folder(folder, version.storage_key)
    database.record_version(replace(version, job_id=job.id), attempt=1, promote=False)
    if promote:
        database.promote(model, number, kind=ChangeKind.MANUAL, reason="a test")
    database.close()
    return tiny_version.expected(manifest, tiny_version.picture(1))
