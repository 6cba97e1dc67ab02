"""Pinning and deleting over a real socket: models, versions, and what is said of a deleted image."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import database_records
import httpx
import msgspec
import pytest
from running_service import RunningService, picture, running

from contract.keys import AuditAction
from contract.records import ChangeKind, Version

Service = tuple[RunningService, httpx.Client]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path) as both:
        yield both


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def publish(service: RunningService, *, files: dict[str, bytes] | None = None, **changes: object) -> Version:
    """A recorded version with a folder; the jobs of earlier ones have ended."""
    database = service.database
    made = database_records.claimed(database, model="default")
    number = database.allocate_version(made.id, attempt=made.attempt)
    folder = service.storage.root / f"models/default/{number}"
    folder.mkdir(parents=True)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in (files or {}).items()}
    manifest = msgspec.json.encode({"files": digests})
    (folder / "manifest.json").write_bytes(manifest)
    service.storage.objects[f"models/default/{number}/manifest.json"] = manifest
    version = replace(database_records.version(made, number), created_at=database.now(), **changes)  # type: ignore[arg-type]
    database.record_version(version, attempt=made.attempt, promote=False)
    return version


def go_live(service: RunningService, number: int) -> None:
    service.database.promote("default", number, kind=ChangeKind.MANUAL, reason="a test")


def upload(client: httpx.Client, value: int, **data: str) -> dict[str, str]:
    answer = client.post(
        "/api/v1/examples", data={"label": "apple", **data}, files=[("file", ("a.png", picture(value)))]
    )
    return dict(answer.raise_for_status().json()["examples"][0])


def actions(service: RunningService) -> list[tuple[AuditAction, str, str]]:
    return [(entry.action, entry.subject, entry.actor) for entry in service.database.list_audit()]


def test_a_model_is_pinned_and_unpinned(service: Service) -> None:
    running_service, client = service
    assert client.get("/api/v1/models/default").json()["pinned"] is False
    for pinned in (True, False):
        assert client.patch("/api/v1/models/default", json={"pinned": pinned}).json()["pinned"] is pinned
        assert running_service.database.get_model("default").pinned is pinned
    assert code(client.patch("/api/v1/models/none", json={"pinned": True})) == (404, "unknown_model")
    assert code(client.patch("/api/v1/models/default", json={"pinned": 1})) == (400, "invalid_request")
    assert actions(running_service)[:2] == [
        (AuditAction.MODEL_UNPINNED, "default", "local"),
        (AuditAction.MODEL_PINNED, "default", "local"),
    ]


def test_a_model_is_deleted_with_all_that_it_has(service: Service) -> None:
    running_service, client = service
    publish(running_service)
    go_live(running_service, 1)
    client.post("/api/v1/models", json={"name": "other", "classes": ["apple", "pear"]})
    upload(client, 1)
    client.post("/api/v1/examples?model=other", data={"label": "apple"}, files=[("file", ("a.png", picture(1)))])
    changes = running_service.changes
    assert client.delete("/api/v1/models/default").json()["live_version"] == 1
    assert running_service.changes == changes + 1
    assert not (running_service.storage.root / "models/default/1").exists()
    assert [key for key in running_service.storage.objects if key.startswith("examples")] == [
        f"examples/other/{(digest := hashlib.sha256(picture(1)).hexdigest())[:2]}/{digest}"
    ]
    assert code(client.get("/api/v1/examples")) == (404, "unknown_model")
    assert code(client.delete("/api/v1/models/default")) == (404, "unknown_model")
    assert actions(running_service)[0] == (AuditAction.MODEL_DELETED, "default", "local")
    again = client.post("/api/v1/models", json={"name": "default", "classes": ["cat", "dog"]})
    assert again.json()["live_version"] is None


def test_a_model_with_a_job_is_not_deleted(service: Service) -> None:
    running_service, client = service
    job = database_records.claimed(running_service.database, model="default")
    upload(client, 1)
    assert code(client.delete("/api/v1/models/default")) == (409, "job_running")
    assert len(client.get("/api/v1/examples").json()["examples"]) == 1
    assert running_service.database.get_job("default", job.id).id == job.id


def test_a_version_is_pinned_and_its_files_are_deleted(service: Service) -> None:
    running_service, client = service
    for _ in range(4):
        publish(running_service)
    for number in (3, 4):
        go_live(running_service, number)
    assert client.post("/api/v1/versions/1:pin").json()["pinned"] is True
    for number in (1, 3, 4):  # pinned, what a rollback would bring back, live
        assert code(client.delete(f"/api/v1/versions/{number}")) == (409, "version_in_use")
    assert client.post("/api/v1/versions/1:unpin").json()["pinned"] is False
    assert client.delete("/api/v1/versions/1").json()["pruned_at"] is not None
    assert not (running_service.storage.root / "models/default/1").exists()
    assert (running_service.storage.root / "models/default/2").exists()
    assert client.delete("/api/v1/versions/1").status_code == 200  # again: nothing changes
    one = client.get("/api/v1/versions/1").json()
    assert (one["version"], one["manifest"]) == (1, None)
    assert [row["pruned_at"] is not None for row in client.get("/api/v1/versions").json()["versions"]] == [
        False
    ] * 3 + [True]
    for answer in (
        client.get("/api/v1/versions/1/curves.png"),
        client.post("/api/v1/versions/1:promote", json={"reason": "a try"}),
        client.post("/api/v1/versions/1:pin"),
    ):
        assert code(answer) == (409, "version_pruned")
    assert code(client.delete("/api/v1/versions/9")) == (404, "unknown_version")
    assert [action for action, subject, _ in actions(running_service) if subject == "default/1"] == [
        AuditAction.VERSION_PRUNED,
        AuditAction.VERSION_UNPINNED,
        AuditAction.VERSION_PINNED,
    ]


def test_a_deleted_image_names_the_versions_that_it_went_into(service: Service) -> None:
    running_service, client = service
    publish(running_service, last_example="0" * 24)
    trained, judged = upload(client, 1, bucket="holdout"), upload(client, 2, bucket="holdout")
    publish(running_service, last_example=judged["id"])
    gone = client.delete(f"/api/v1/examples/{trained['id']}").json()
    assert gone["id"] == trained["id"]
    assert (gone["trained_versions"], gone["copies_in"]) == ([], [])
    assert gone["judged_versions"] == [{"version": 2, "bucket": "holdout", "pruned": False}]
    assert actions(running_service)[0] == (AuditAction.EXAMPLE_DELETED, trained["id"], "local")
    late = upload(client, 3)
    assert client.delete(f"/api/v1/examples/{late['id']}").json()["trained_versions"] == []


def test_a_copy_in_an_early_version_is_named_and_goes_with_its_files(service: Service) -> None:
    running_service, client = service
    kept = upload(client, 1, bucket="holdout")
    publish(running_service, files={"golden/00.png": picture(1)})
    publish(running_service, files={"golden/00.png": picture(9)})
    publish(running_service, last_example=kept["id"])
    gone = client.delete(f"/api/v1/examples/{kept['id']}").json()
    assert [one["version"] for one in gone["judged_versions"]] == [3, 2, 1]
    assert gone["copies_in"] == [1]
    assert client.delete("/api/v1/versions/1").status_code == 200
