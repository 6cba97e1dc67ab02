"""kill -9 in the worst moments: the worker in mid-training, the engine under load."""

import os
import signal
from collections.abc import Iterator

import drawn_sample
import pytest
from installation import Installation
from open_loop import OpenLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
RECOVERY_S = 10


@pytest.fixture(scope="module")
def ripen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    sample = drawn_sample.draw(tmp_path_factory.mktemp("sample"), train=160, validation=30)
    home = tmp_path_factory.mktemp("up") / "home"
    installation = Installation(home, "--data", str(sample), RIPEN_LEASE_S="3").start()
    yield installation
    assert installation.stop() == 0, installation.log


def training(ripen: Installation, job_id: str) -> bool:
    progress = ripen.job(job_id)["progress"]
    assert isinstance(progress, dict)
    return progress["step"] == "train" and progress["epoch"] >= 1


def test_a_killed_worker_loses_nothing(ripen: Installation) -> None:
    before = ripen.http.get("/api/v1/versions").json()["versions"]
    job_id = ripen.http.post("/api/v1/retrain", json={"recipe": {"seed": 2}, "gate": {"policy": "always"}}).json()["id"]
    ripen.wait_for(lambda: training(ripen, job_id), 60, "training")
    (worker,) = ripen.processes("retrain worker")
    os.kill(worker, signal.SIGKILL)
    ended = ripen.wait_for_job(job_id)
    assert ended["state"] == "succeeded", ended
    after = ripen.http.get("/api/v1/versions").json()["versions"]
    assert len(after) == len(before) + 1
    assert ended["version"] == after[0]["version"]
    folders = {path.name for path in (ripen.home / "storage" / "models" / "default").iterdir()}
    assert folders == {str(entry["version"]) for entry in after}
    ripen.wait_for(lambda: ripen.processes(f"retrain run {job_id}") == [], 10, "end of the processes of both attempts")


def test_a_killed_engine_loses_only_what_was_in_flight(ripen: Installation) -> None:
    pictures = sorted((ripen.home / "storage" / "examples" / "default").glob("*/*"))[:16]
    version = ripen.live()
    load = OpenLoop(ripen.rest_url, ripen.grpc_address, [path.read_bytes() for path in pictures], rate=40).start()
    ripen.wait_for(lambda: len(load.replies) >= 100, 30, "traffic")
    restarts = ripen.metric("ripen_engine_restarts_total")
    engine = engine_of(ripen, version)
    os.kill(engine, signal.SIGKILL)
    killed = len(load.replies)
    seconds = ripen.wait_for(lambda: any(not reply.error for reply in load.replies[killed + 8 :]), RECOVERY_S, "answer")
    ripen.wait_for(lambda: len(load.replies) >= killed + 400, 60, "traffic")
    replies = load.stop()
    failed = [reply for reply in replies if reply.error]
    print(f"engine killed: answers again within {seconds:.1f} s; {len(failed)} of {len(replies)} requests failed")
    assert len(failed) <= 8  # one per connection can be in flight
    assert all(reply.error.startswith(("503 ", "UNAVAILABLE ")) for reply in failed), failed
    assert ripen.metric("ripen_engine_restarts_total") == restarts + 1
    assert engine_of(ripen, version) != engine


def engine_of(ripen: Installation, version: int | None) -> int:
    (engine,) = ripen.processes(f"--version {version}")
    return engine


def test_cancel_ends_the_process_group(ripen: Installation) -> None:
    job_id = ripen.http.post("/api/v1/retrain", json={"recipe": {"seed": 3, "tail_epochs": 500}}).json()["id"]
    ripen.wait_for(lambda: training(ripen, job_id), 60, "training")
    assert ripen.http.post(f"/api/v1/jobs/{job_id}:cancel").status_code in (200, 202)
    seconds = ripen.wait_for(lambda: ripen.job(job_id)["state"] == "cancelled", 5, "cancellation")
    print(f"cancelled within {seconds:.1f} s")
    ripen.wait_for(lambda: ripen.processes(f"retrain run {job_id}") == [], 5, "end of the process")
    assert not (ripen.home / "work" / job_id).exists()
