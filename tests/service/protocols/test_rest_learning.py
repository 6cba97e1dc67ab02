"""Models, examples, jobs and versions over a real socket, with real SQLite and storage in memory."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import tiny_version
from running_service import CLASSES, RunningService, picture, running

from contract.errors import StorageFull
from contract.records import JobState, Progress, Version

Service = tuple[RunningService, httpx.Client]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path) as both:
        yield both


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def upload(client: httpx.Client, label: str, *values: int, **data: str) -> httpx.Response:
    files = [("file", (f"{value}.png", picture(value))) for value in values]
    return client.post("/api/v1/examples", data={"label": label, **data}, files=files)


def fill(client: httpx.Client) -> None:
    for label, first in (("apple", 0), ("orange", 100)):
        assert upload(client, label, *range(first, first + 30)).status_code == 201
        assert upload(client, label, *range(first + 30, first + 34), bucket="holdout").status_code == 201


def publish(service: RunningService, number: int, *, promote: bool) -> Version:
    job = service.core.learning.start("default", changes={})
    claimed = service.database.claim_job(owner="test", lease_s=60, max_attempts=3)
    assert claimed is not None
    assert claimed.id == job.id
    assert service.database.allocate_version(job.id, attempt=1) == number
    version = Version(
        model="default",
        number=number,
        job_id=job.id,
        parent=None,
        metrics=tiny_version.METRICS,
        verdict=tiny_version.Verdict(
            tiny_version.Decision.PROMOTE, tiny_version.GatePolicy.ALWAYS, ("a test",), tiny_version.METRICS
        ),
        training_seconds=1.5,
        manifest_sha256="0" * 64,
        created_at=datetime.now(UTC),
    )
    service.database.record_version(version, attempt=1, promote=promote)
    return version


def test_examples_are_stored_listed_and_deleted(service: Service) -> None:
    running_service, client = service
    files = [("file", ("dir/a.png", picture(1))), ("file", ("notes.txt", b"hello")), ("file", ("b.png", picture(1)))]
    answer = client.post("/api/v1/examples", data={"label": "apple"}, files=files)
    assert answer.status_code == 201
    first, again = answer.json()["examples"]
    assert first.keys() == {"id", "file", "label", "bucket", "digest", "duplicate"}
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert first["id"] == again["id"]
    (refused,) = answer.json()["rejected"]
    assert (refused["file"], refused["error"]["code"]) == ("notes.txt", "invalid_image")
    assert list(running_service.storage.objects.values()) == [picture(1)]

    listed = client.get("/api/v1/examples").json()
    assert [(one["id"], one["file"], one["format"]) for one in listed["examples"]] == [(first["id"], "a.png", "PNG")]
    assert listed["counts"] == [{"model": "default", "label": "apple", "bucket": first["bucket"], "count": 1}]
    assert client.delete(f"/api/v1/examples/{first['id']}").json()["id"] == first["id"]
    assert running_service.storage.objects == {}
    assert code(client.delete(f"/api/v1/examples/{first['id']}")) == (404, "unknown_example")


def test_an_example_that_is_added_again_gets_its_bucket_again(service: Service) -> None:
    client = service[1]
    before = {value: upload(client, "apple", value).json()["examples"][0] for value in range(20)}
    assert len({one["bucket"] for one in before.values()}) > 1
    for value, one in before.items():
        assert client.delete(f"/api/v1/examples/{one['id']}").status_code == 200
        assert upload(client, "apple", value).json()["examples"][0]["bucket"] == one["bucket"]
    documented = client.get("/openapi.json").json()["paths"]["/api/v1/examples/{example_id}"]["delete"]
    assert "the bucket of their digest again" in documented["description"]


def test_images_of_a_group_share_its_bucket(service: Service) -> None:
    client = service[1]
    for number in range(4):
        answer = upload(client, "apple", *range(20 * number, 20 * number + 20), group=f"camera-{number}")
        assert len({one["bucket"] for one in answer.json()["examples"]}) == 1
    rows = client.get("/api/v1/examples").json()["examples"]
    assert [one["group_id"] for one in rows] == [f"camera-{place // 20}" for place in range(80)]
    composed, decomposed = (upload(client, "apple", value, group=name) for value, name in ((80, "é"), (81, "e\u0301 ")))
    assert composed.json()["examples"][0]["bucket"] == decomposed.json()["examples"][0]["bucket"]
    assert {one["group_id"] for one in client.get("/api/v1/examples").json()["examples"][80:]} == {"é"}
    again = upload(client, "apple", 0, group="camera-9").json()["examples"][0]
    assert again["duplicate"]
    assert client.get("/api/v1/examples").json()["examples"][0]["group_id"] == "camera-0"


def test_a_named_bucket_is_remembered(service: Service) -> None:
    client = service[1]
    upload(client, "apple", 1, bucket="holdout", group="camera")
    upload(client, "apple", 2, group="camera")
    rows = client.get("/api/v1/examples").json()["examples"]
    assert [(one["bucket_named"], one["settled"]) for one in rows] == [(True, False), (False, False)]


@pytest.mark.parametrize("group", [" ", "x" * 64, "two\nlines", "\x00"])
def test_a_name_that_no_group_can_have(service: Service, group: str) -> None:
    client = service[1]
    assert code(upload(client, "apple", 1, group=group)) == (400, "invalid_request")
    assert client.get("/api/v1/examples").json()["examples"] == []


def test_examples_come_in_pages(service: Service) -> None:
    client = service[1]
    upload(client, "apple", 1, 2, 3)
    first = client.get("/api/v1/examples", params={"limit": 2}).json()
    rest = client.get("/api/v1/examples", params={"limit": 2, "after": first["next"]}).json()
    assert [one["file"] for one in [*first["examples"], *rest["examples"]]] == ["1.png", "2.png", "3.png"]
    assert rest["next"] is None
    assert client.get("/api/v1/examples", params={"label": "orange"}).json()["examples"] == []


def test_bad_uploads_say_so(service: Service) -> None:
    running_service, client = service
    assert code(upload(client, "pear", 1)) == (422, "unknown_label")
    assert "apple" in upload(client, "pear", 1).json()["error"]["message"]
    assert code(upload(client, "apple")) == (415, "unsupported_media_type")  # without a file httpx sends no such form
    for bucket in ("mine", "train", "tune", "calibrate"):
        answer = upload(client, "apple", 1, bucket=bucket)
        assert code(answer) == (400, "invalid_request")
        assert answer.json()["error"]["message"] == "body.bucket: Input should be 'holdout'."
    empty = client.post("/api/v1/examples", params={"model": "empty"}, data={"label": "a"}, files={"file": picture()})
    assert code(empty) == (409, "classes_not_declared")
    other = client.post("/api/v1/examples", params={"model": "other"}, data={"label": "a"}, files={"file": picture()})
    assert code(other) == (404, "unknown_model")
    bad = client.post("/api/v1/examples", data={"label": "apple"}, files={"file": ("x.png", picture()[:45])})
    assert code(bad) == (422, "invalid_image")
    assert upload(client, "apple", 7).status_code == 201
    assert code(upload(client, "orange", 7)) == (409, "label_conflict")
    running_service.storage.error = StorageFull("No space left.")
    assert code(upload(client, "orange", 8)) == (507, "storage_full")


def test_models_are_declared_once(service: Service) -> None:
    running_service, client = service
    made = client.post("/api/v1/models", json={"name": "pets", "classes": ["cat", "dog"]})
    assert (made.status_code, made.json()["classes"]) == (200, ["cat", "dog"])
    assert running_service.changes == 1
    assert client.post("/api/v1/models", json={"name": "pets", "classes": ["cat", "dog"]}).json() == made.json()
    assert code(client.post("/api/v1/models", json={"name": "pets", "classes": ["dog", "cat"]})) == (
        409,
        "classes_fixed",
    )
    assert client.get("/api/v1/models/pets").json() == made.json()
    listed = client.get("/api/v1/models")
    assert [model["name"] for model in listed.json()["models"]] == ["default", "empty", "pets"]
    assert "split_key" not in listed.text


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"name": "x", "classes": ["a"]}',
        b'{"name": "x", "classes": ["a", "b", "c"]}',
        b'{"name": "x", "classes": ["a", "a"]}',
        b'{"name": "../x"}',
        b'{"name": "x", "other": 1}',
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"name": "\\ud800"}',
        b"\xff",
        b"[" * 60_000,
        b"",
    ],
)
def test_malformed_json_is_refused_without_echo(service: Service, body: bytes) -> None:
    answer = service[1].post("/api/v1/models", content=body, headers={"Content-Type": "application/json"})
    assert code(answer) == (400, "invalid_request")


def test_json_without_its_content_type_is_explained(service: Service) -> None:
    answer = service[1].post("/api/v1/models", content=b'{"name": "x"}')
    assert code(answer) == (415, "unsupported_media_type")
    assert "Content-Type; expected `application/json`" in answer.json()["error"]["message"]


def test_retrain_needs_data(service: Service) -> None:
    client = service[1]
    assert code(client.post("/api/v1/retrain", params={"model": "empty"})) == (409, "classes_not_declared")
    assert code(client.post("/api/v1/retrain")) == (422, "invalid_dataset")
    upload(client, "apple", *range(40))
    answer = client.post("/api/v1/retrain")
    assert code(answer) == (422, "invalid_dataset")
    assert "'orange' has 0 images" in answer.json()["error"]["message"]


def test_a_retrain_is_a_job_at_once(service: Service) -> None:
    client = service[1]
    fill(client)
    body = {"recipe": {"head_epochs": 1, "backbone": "Compact"}, "gate": {"policy": "always"}}
    answer = client.post("/api/v1/retrain", json=body, headers={"Idempotency-Key": "k1"})
    job = answer.json()
    assert answer.status_code == 202
    assert (job["state"], job["model"], job["gate_policy"]) == ("queued", "default", "always")
    assert (job["recipe"]["head_epochs"], job["recipe"]["backbone"], job["version"]) == (1, "Compact", None)
    again = client.post("/api/v1/retrain", json=body, headers={"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()["id"]) == (202, job["id"])
    other = client.post("/api/v1/retrain", headers={"Idempotency-Key": "k1"})
    assert code(other) == (409, "idempotency_conflict")
    plain = client.post("/api/v1/retrain").json()
    assert (plain["recipe"]["name"], plain["gate_policy"], plain["dry_run"]) == ("best", "balanced", False)
    guide = client.post("/api/v1/retrain", json={"recipe": {"name": "guide", "seed": 1}}).json()["recipe"]
    assert (guide["name"], guide["head_epochs"], guide["tail_layers"], guide["seed"]) == ("guide", 5, 4, 1)
    dry = client.post("/api/v1/retrain", json={"gate": {"dry_run": True}}).json()
    assert (dry["gate_policy"], dry["dry_run"]) == ("balanced", True)
    assert [one["id"] for one in client.get("/api/v1/jobs").json()["jobs"]][-1] == job["id"]
    assert client.get(f"/api/v1/jobs/{job['id']}").json()["id"] == job["id"]
    assert code(client.get("/api/v1/jobs/none")) == (404, "unknown_job")
    cancelled = client.post(f"/api/v1/jobs/{job['id']}:cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert code(client.get("/api/v1/jobs", params={"model": "other"})) == (404, "unknown_model")


@pytest.mark.parametrize(
    "body",
    [
        {"recipe": {"nothing": 1}},
        {"recipe": {"head_epochs": "many"}},
        {"recipe": {"name": "better"}},
        {"recipe": {"name": "guide", "tail_layers": None}},
        {"recipe": {"name": "guide", "views": 4}},
        {"recipe": {"goal": "luck"}},
        {"recipe": {"false_negative_cost": 0}},
        {"recipe": {"head_epochs": -1}},
        {"recipe": {"seed": 2**70}},
        {"recipe": {"weights": "/etc/passwd"}},
        {"recipe": {"weights": "../x.h5"}},
        {"recipe": {"weights": "absent.h5"}},
        {"gate": {"policy": "never"}},
        {"gate": {"policy": "always", "more": 1}},
        {"more": 1},
        [1],
    ],
)
def test_bad_recipes_are_refused(service: Service, body: object) -> None:
    assert code(service[1].post("/api/v1/retrain", json=body)) == (400, "invalid_request")


def test_weights_are_files_of_one_folder(service: Service) -> None:
    running_service, client = service
    fill(client)
    folder = running_service.settings.home / "weights"
    folder.mkdir()
    (folder / "mine.h5").write_bytes(b"x")
    job = client.post("/api/v1/retrain", json={"recipe": {"weights": "mine.h5", "backbone": "VGG16"}})
    assert job.json()["recipe"]["weights"] == str(folder / "mine.h5")


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, object]]]:
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def test_a_job_is_watched_to_its_end(service: Service) -> None:
    running_service, client = service
    fill(client)
    job_id = client.post("/api/v1/retrain").json()["id"]
    database = running_service.database
    with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = events(stream.iter_lines())
        assert next(told)[1]["state"] == "queued"
        database.claim_job(owner="test", lease_s=60, max_attempts=3)
        database.report_progress(job_id, attempt=1, progress=Progress("train", 0.5, 3.0, 1, 2, "head"))
        kind, job = next(told)
        while job["progress"]["step"] != "train":  # type: ignore[index]  # JSON
            kind, job = next(told)
        assert (kind, job["state"]) == ("progress", "running")
        database.end_job(job_id, attempt=1, state=JobState.CANCELLED, failure=None)
        assert [(kind, job["state"]) for kind, job in told] == [("end", "cancelled")]
    assert code(client.get("/api/v1/jobs/none/events")) == (404, "unknown_job")


def test_a_watched_job_does_not_hold_up_the_end_of_the_service(service: Service) -> None:
    running_service, client = service
    fill(client)
    job_id = client.post("/api/v1/retrain").json()["id"]
    with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: progress"
        stopping = threading.Thread(target=running_service.stop)
        stopping.start()
        assert list(lines)[-1] == ""
        stopping.join(4)
        assert not stopping.is_alive()


def test_versions_tell_their_story(service: Service) -> None:
    running_service, client = service
    fill(client)
    for number in (1, 2, 3):
        publish(running_service, number, promote=number < 3)
    told = client.get("/api/v1/versions").json()
    assert (told["live"], told["aspired"]) == (2, 2)
    assert [(one["version"], one["state"], one["live"]) for one in told["versions"]] == [
        (3, "END", False),
        (2, "AVAILABLE", True),
        (1, "AVAILABLE", False),
    ]
    assert told["versions"][0]["status"] == {
        "error_code": "INTERNAL",
        "message": "golden/00.jpg differs",
        "runtime": "",
        "notes": [],
    }
    assert told["versions"][0]["metrics"]["accuracy"] == tiny_version.METRICS.accuracy
    assert [(one["version"], one["kind"]) for one in told["history"]] == [(2, "gate"), (1, "gate")]

    before = running_service.changes
    promoted = client.post("/api/v1/versions/3:promote", json={"reason": "looked good"})
    assert (promoted.status_code, promoted.json()["version"], promoted.json()["kind"]) == (200, 3, "manual")
    back = client.post("/api/v1/versions:rollback")
    assert (back.status_code, back.json()["version"], back.json()["kind"]) == (200, 2, "rollback")
    assert client.post("/api/v1/versions:rollback", json={"reason": "bad"}).json()["version"] == 1
    assert code(client.post("/api/v1/versions:rollback")) == (409, "nothing_to_roll_back")
    assert running_service.changes == before + 3
    assert code(client.post("/api/v1/versions/9:promote", json={"reason": "x"})) == (404, "unknown_version")
    assert code(client.post("/api/v1/versions/2:promote", json={"reason": " "})) == (400, "invalid_request")
    assert code(client.post("/api/v1/versions/2:promote")) == (400, "invalid_request")
    assert code(client.get("/api/v1/versions", params={"model": "other"})) == (404, "unknown_model")


def test_a_version_shows_its_manifest_and_curves(service: Service) -> None:
    running_service, client = service
    fill(client)
    version = publish(running_service, 1, promote=True)
    assert code(client.get("/api/v1/versions/1")) == (404, "unknown_version")  # published nowhere
    folder = running_service.storage.root / version.storage_key
    folder.parent.mkdir(parents=True)
    tiny_version.make(folder, classes=CLASSES)
    assert client.get("/api/v1/versions/1").json()["manifest"]["classes"] == list(CLASSES)
    assert code(client.get("/api/v1/versions/1/curves.png")) == (404, "unknown_version")
    (folder / "curves.png").write_bytes(picture())
    curves = client.get("/api/v1/versions/1/curves.png")
    assert (curves.headers["content-type"], curves.content) == ("image/png", picture())
    assert code(client.get("/api/v1/versions/1/manifest.json")) == (404, "not_found")
