"""The OpenAPI page is complete: every route, its answers, its errors, examples that fit their schemas."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from running_service import RunningService, running

OURS = {
    ("post", "/api/v1/predict"),
    ("post", "/api/v1/examples"),
    ("get", "/api/v1/examples"),
    ("delete", "/api/v1/examples/{example_id}"),
    ("post", "/api/v1/models"),
    ("get", "/api/v1/models"),
    ("get", "/api/v1/models/{name}"),
    ("post", "/api/v1/retrain"),
    ("get", "/api/v1/jobs"),
    ("get", "/api/v1/jobs/{job_id}"),
    ("get", "/api/v1/jobs/{job_id}/events"),
    ("post", "/api/v1/jobs/{job_id}:cancel"),
    ("get", "/api/v1/versions"),
    ("get", "/api/v1/versions/{number}"),
    ("get", "/api/v1/versions/{number}/curves.png"),
    ("post", "/api/v1/versions/{number}:promote"),
    ("post", "/api/v1/versions:rollback"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("post", "/v1/models/{model}:predict"),
    ("get", "/v1/models/{model}"),
    ("get", "/v1/models/{model}/metadata"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningService, httpx.Client]]:
    with running(tmp_path_factory.mktemp("service")) as both:
        yield both


@pytest.fixture(scope="module")
def page(service: tuple[RunningService, httpx.Client]) -> dict[str, Any]:
    answer = service[1].get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def operations(page: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method, path): one for path, methods in page["paths"].items() for method, one in methods.items()}


def test_every_route_is_there(page: dict[str, Any]) -> None:
    assert operations(page).keys() >= OURS


def test_ours_are_described_to_the_end(page: dict[str, Any]) -> None:
    for (method, path), operation in operations(page).items():
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["tags"], where
        if not path.startswith("/api/"):
            continue
        assert operation["description"], where
        errors = [one for status, one in operation["responses"].items() if status >= "400"]
        assert len(errors) >= 2, where
        assert "HTTPValidationError" not in str(operation["responses"]), where
        good = [one for status, one in operation["responses"].items() if status < "400"]
        assert all(one.get("content") for one in good), where


def test_path_parameters_are_declared(page: dict[str, Any]) -> None:
    for (_, path), operation in operations(page).items():
        wanted = {part.split("}")[0] for part in path.split("{")[1:]}
        declared = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert wanted == declared, path


def test_the_page_itself(service: tuple[RunningService, httpx.Client]) -> None:
    assert "openapi.json" in service[1].get("/docs").text
