"""`ripen models`, `pin`, `unpin` and `delete`: what they send and print."""

from pathlib import Path

from click.testing import CliRunner, Result
from fake_rest_service import FakeRestService, refusal, version

from ripen.__main__ import main

MODEL = {"name": "fruit", "classes": ["apple", "orange"], "live_version": 3, "pinned": True}
GONE = {
    "id": "18a9d0c1f0b2c3d4aabbccdd",
    "file": "a.jpg",
    "label": "apple",
    "bucket": "train",
    "digest": "ab" * 32,
    "trained_versions": [
        {"version": 3, "bucket": "train", "pruned": False},
        {"version": 2, "bucket": "train", "pruned": True},
    ],
    "judged_versions": [],
    "copies_in": [3],
}


def run(service: FakeRestService, *arguments: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--url", service.url], input=typed)


def test_models_are_listed_made_and_pinned(service: FakeRestService) -> None:
    service.answer("GET /api/v1/models", {"models": [MODEL, {"name": "new", "classes": None, "live_version": None}]})
    service.answer("POST /api/v1/models", MODEL)
    service.answer("PATCH /api/v1/models/fruit", MODEL)
    listed = run(service, "models", "list").output.splitlines()
    assert [line.split() for line in listed[1:]] == [
        ["fruit", "(pinned)", "apple", "/", "orange", "3"],
        ["new", "not", "declared", "-"],
    ]
    made = run(service, "models", "create", "apple", "orange", "--model", "fruit")
    assert "fruit tells apple from orange" in made.output
    assert run(service, "models", "pin", "--model", "fruit").exit_code == 0
    assert run(service, "models", "unpin", "--model", "fruit").exit_code == 0
    assert "create" in CliRunner().invoke(main, ["models"]).output


def test_deleting_asks_first(service: FakeRestService) -> None:
    service.answer("DELETE /api/v1/models/fruit", MODEL)
    service.answer("DELETE /api/v1/versions/3", version(3))
    assert run(service, "models", "delete", "--model", "fruit", typed="n\n").exit_code == 1
    assert run(service, "delete", "version", "3", typed="\n").exit_code == 1
    assert service.received == []
    assert "model fruit is gone" in run(service, "models", "delete", "--model", "fruit", typed="y\n").output
    assert "its record stays" in run(service, "delete", "version", "3", "--yes").output
    assert len(service.received) == 2


def test_versions_are_pinned(service: FakeRestService) -> None:
    service.answer("POST /api/v1/versions/3:pin", version(3))
    service.answer("POST /api/v1/versions/3:unpin", refusal(409, "version_pruned", "its files are gone"))
    assert "version 3 stays" in run(service, "pin", "3").output
    refused = run(service, "unpin", "3")
    assert refused.exit_code == 1
    assert "its files are gone" in refused.output


def test_a_deleted_image_says_where_it_went(service: FakeRestService) -> None:
    service.answer(f"DELETE /api/v1/examples/{GONE['id']}", GONE)
    output = run(service, "delete", "example", str(GONE["id"])).output
    assert "versions that learnt from it: 3, 2 (pruned)" in output
    assert "judged" not in output
    assert "hold a copy: 3; `ripen delete version N` removes it" in output
