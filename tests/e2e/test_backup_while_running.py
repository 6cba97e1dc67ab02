"""A backup while the service takes uploads and a version is published; its restore answers the same.

Prints how long both took: run with `-s`.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orchard
import pytest
import service_process
import tiny_version
from installation import RIPEN

pytestmark = pytest.mark.e2e
BEFORE = 40  # images that are there before the backup begins


def ripen(*arguments: str | Path, **variables: object) -> dict[str, object]:
    """Run a command on a home and return what it answered."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RIPEN_")}
    environment |= {name: str(value) for name, value in variables.items()}
    done = subprocess.run([RIPEN, *arguments, "--json"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


class Writing:
    """A client that uploads images, and deletes every fifth one; `acknowledged` maps what it was told to when."""

    def __init__(self, client: httpx.Client) -> None:
        self.acknowledged: dict[str, float] = {}
        self.deleted: set[str] = set()
        self._client = client
        self._seed = 0

    def write(self) -> None:
        self._seed += 1
        label = orchard.CLASSES[self._seed % 2]
        files = {"file": (f"{self._seed}.jpg", orchard.picture(label, self._seed))}
        answer = self._client.post("/api/v1/examples", data={"label": label}, files=files)
        name = answer.raise_for_status().json()["examples"][0]["id"]
        self.acknowledged[name] = time.monotonic()
        if self._seed % 5 == 0:
            self.deleted.add(name)
            self._client.delete(f"/api/v1/examples/{name}").raise_for_status()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Write in another thread."""
        stop, failure = threading.Event(), list[Exception]()

        def go_on() -> None:
            try:
                while not stop.is_set():
                    self.write()
            except Exception as error:
                failure.append(error)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)
        assert not failure


def test_a_backup_during_writes_and_a_publication_restores_all_that_was_acknowledged(tmp_path: Path) -> None:
    home, new = tmp_path / "home", tmp_path / "new"
    home.mkdir()
    answer = service_process.publish(home, 1, bias=0.7)
    with service_process.started(home) as service:
        service.wait_for(service.ready)
        writing = Writing(service.client)
        for _ in range(BEFORE):
            writing.write()
        with writing.going_on():
            publishing = threading.Thread(
                target=service_process.publish, args=(home, 2, -0.7), kwargs={"promote": False}
            )
            publishing.start()
            began = time.monotonic()
            done = ripen("backup", tmp_path / "b.tar", "--home", home)
            publishing.join(60)
        during = len(writing.acknowledged)
    restored = ripen("restore", tmp_path / "b.tar", "--home", new)
    print(
        f"\nbackup of {done['examples']} images and {done['versions']} versions: {done['size_bytes']} bytes in "
        f"{done['seconds']} s, {during - BEFORE} uploads meanwhile; restore {restored['seconds']} s"
    )
    assert done["problems"] == []
    with service_process.started(new) as service:
        service.wait_for(service.ready)
        found = {one["id"] for one in service.client.get("/api/v1/examples?limit=1000").json()["examples"]}
        early = {name for name, at in writing.acknowledged.items() if at < began}
        assert early - writing.deleted <= found <= writing.acknowledged.keys()
        assert len(found) == restored["examples"]
        assert predict(service.client) == pytest.approx(answer, abs=1e-6)
        port, grpc_port = service.client.base_url.port, service.grpc_address.rpartition(":")[2]
        findings = ripen("doctor", "--deep", "--home", new, RIPEN_REST_PORT=port, RIPEN_GRPC_PORT=grpc_port)["findings"]
    assert isinstance(findings, list)
    assert [one for one in findings if not one["ok"]] == []
    assert [one["says"] for one in findings if one["check"] == "ports"] == [f"a service answers on {port}"]


def predict(client: httpx.Client) -> float:
    headers = {"content-type": "image/jpeg"}
    answer = client.post("/api/v1/predict", content=tiny_version.picture(1), headers=headers)
    return float(answer.raise_for_status().json()["predictions"][0]["probability"])


def test_a_deleted_model_stops_and_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    service_process.publish(home, 1, bias=0.7)
    with service_process.started(home) as service:
        service.wait_for(service.ready)
        Writing(service.client).write()
        assert service.client.delete("/api/v1/models/default").status_code == 200
        service.wait_for(lambda: service.client.get("/v1/models/default").status_code == 404)
        gone = service.client.post("/api/v1/predict", content=b"x", headers={"content-type": "image/jpeg"})
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "unknown_model")
        assert service.client.get("/readyz").status_code == 200
        assert [path for path in (home / "storage").rglob("*") if path.is_file()] == []
