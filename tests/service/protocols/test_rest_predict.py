"""POST /api/v1/predict over a real socket."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running_service import RunningService, free_ports, picture, running

from contract import errors

Service = tuple[RunningService, httpx.Client]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with running(folder, free_ports(home=folder, max_request_bytes=200_000)) as both:
        yield both


def code(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, error["code"]


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_raw_body_is_one_image(service: Service, content_type: str) -> None:
    answer = service[1].post("/api/v1/predict", content=picture(204), headers={"Content-Type": content_type})
    assert answer.status_code == 200
    told = answer.json()
    assert told["request_id"] == answer.headers["x-request-id"]
    assert told["model"] == {"name": "default", "version": 2}
    assert told["predictions"] == [{"label": "orange", "probability": 0.8, "threshold": 0.5, "file": None}]


def test_a_form_has_several_and_a_bad_one_is_alone(service: Service) -> None:
    files = [("a", ("one.png", picture(0))), ("b", ("notes.txt", b"hello")), ("file", ("two.png", picture(255)))]
    answer = service[1].post("/api/v1/predict", files=files, params={"version": 1})
    assert answer.status_code == 200
    first, bad, last = answer.json()["predictions"]
    assert (first["file"], first["label"], first["probability"]) == ("one.png", "apple", 0.0)
    assert (last["file"], last["label"], last["probability"]) == ("two.png", "orange", 1.0)
    assert bad["file"] == "notes.txt"
    assert bad["error"]["code"] == "invalid_image"
    assert answer.json()["model"]["version"] == 1


def test_only_bad_images_fail_the_request(service: Service) -> None:
    post = service[1].post
    assert code(post("/api/v1/predict", content=b"hello")) == (422, "invalid_image")
    assert code(post("/api/v1/predict", content=b"")) == (422, "invalid_image")
    files = [("file", ("a.txt", b"hello")), ("file", ("b.txt", b"world"))]
    assert code(post("/api/v1/predict", files=files)) == (422, "invalid_image")


@pytest.mark.parametrize(
    ("query", "headers", "expected"),
    [
        ({"model": "other"}, {}, (404, "unknown_model")),
        ({"model": "../x"}, {}, (400, "invalid_request")),
        ({"model": "empty"}, {}, (409, "no_live_version")),
        ({"version": "9"}, {}, (404, "unknown_version")),
        ({"version": "x"}, {}, (400, "invalid_request")),
        ({"version": "0"}, {}, (400, "invalid_request")),
        ({}, {"X-Request-Timeout-Ms": "soon"}, (400, "invalid_request")),
        ({}, {"X-Request-Timeout-Ms": "2.5"}, (400, "invalid_request")),
        ({}, {"X-Request-Timeout-Ms": "0"}, (400, "invalid_request")),
        ({}, {"Content-Type": "multipart/form-data"}, (400, "invalid_request")),
        ({}, {"Content-Type": "multipart/form-data; boundary=x"}, (400, "invalid_request")),
        ({}, {"Host": "evil.example"}, (400, "invalid_request")),
        ({}, {"Origin": "https://evil.example"}, (403, "origin_not_allowed")),
        ({}, {"Origin": "null"}, (403, "origin_not_allowed")),
    ],
)
def test_bad_requests_say_so(
    service: Service, query: dict[str, str], headers: dict[str, str], expected: tuple[int, str]
) -> None:
    answer = service[1].post("/api/v1/predict", params=query, headers=headers, content=picture())
    assert code(answer) == expected


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("version=1", {}),
        ("model=default&version=1", {"X-Request-Timeout-Ms": "700"}),
        ("version=1&model=default", {}),  # from here on FastAPI's, which reads more
        ("version=01", {}),
        ("model=default&unknown=x", {}),
        ("model=empty", {}),
        ("model=other", {}),
        ("version=0", {}),
        ("version=x", {}),
        ("model=../x", {}),
        ("", {"X-Request-Timeout-Ms": "0"}),
        ("", {"X-Request-Timeout-Ms": "3600001"}),
    ],
)
def test_a_raw_image_and_a_form_are_asked_alike(service: Service, query: str, headers: dict[str, str]) -> None:
    running_service, client = service
    told = []
    for content in ({"content": picture(7)}, {"files": {"file": picture(7)}}):
        running_service.predictor.asked.clear()
        answer = client.post(f"/api/v1/predict?{query}", headers=headers, **content)
        asked = [(one.model, one.version, one.timeout_s) for one in running_service.predictor.asked]
        answered = answer.json().get("model") or answer.json()["error"]["code"]
        told.append((answer.status_code, answered, asked))
    assert told[0] == told[1]


def test_who_comes_too_late_is_told_before_the_body(service: Service) -> None:
    running_service, _ = service
    running_service.predictor.refusal = errors.Overloaded("An answer would take too long.")
    running_service.predictor.asked.clear()
    try:
        for kind in (b"image/jpeg", b"multipart/form-data; boundary=x"):
            with socket.create_connection(("127.0.0.1", running_service.ports.rest), timeout=20) as connection:
                head = b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50000\r\n"
                connection.sendall(head + b"Content-Type: %b\r\n\r\n" % kind)
                answer = connection.recv(65536).decode().lower()
            assert answer.startswith("http/1.1 429 ")
            assert 1 <= int(answer.partition("retry-after: ")[2].partition("\r\n")[0]) <= 5
    finally:
        running_service.predictor.refusal = None
    assert not running_service.predictor.asked


def test_good_headers_are_used(service: Service) -> None:
    headers = {"X-Request-Timeout-Ms": "2500", "X-Request-Id": "my-id.1", "Origin": "http://localhost:3000"}
    answer = service[1].post("/api/v1/predict", headers=headers, content=picture())
    assert answer.status_code == 200
    assert answer.json()["request_id"] == "my-id.1"
    assert service[0].predictor.asked[-1].timeout_s == 2.5
    other = service[1].post("/api/v1/predict", headers={"X-Request-Id": "<script>"}, content=picture())
    assert len(other.json()["request_id"]) == 32


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.Overloaded("The queue is full."), (429, "overloaded")),
        (errors.EngineUnavailable("It died."), (503, "engine_unavailable")),
        (errors.DeadlineExceeded("Too late."), (504, "deadline_exceeded")),
        (errors.BrokenVersion("secret /etc/x"), (500, "internal")),
        (ValueError("secret /etc/x"), (500, "internal")),
    ],
)
def test_errors_have_their_status_and_no_secrets(
    service: Service, error: Exception, expected: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    running_service, client = service
    running_service.predictor.error = error
    try:
        answer = client.post("/api/v1/predict", content=picture())
    finally:
        running_service.predictor.error = None
    assert code(answer) == expected
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) == (expected[0] in (429, 503))
    if expected[0] == 500:
        assert answer.headers["x-request-id"] in caplog.text


def test_too_large_bodies_are_refused(service: Service) -> None:
    assert code(service[1].post("/api/v1/predict", content=bytes(300_000))) == (413, "request_too_large")

    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(10_000)

    assert code(service[1].post("/api/v1/predict", content=pieces())) == (413, "request_too_large")
    files = [("file", ("a.png", bytes(300_000)))]
    assert code(service[1].post("/api/v1/predict", files=files)) == (413, "request_too_large")


def test_a_client_that_leaves_cancels_its_prediction(service: Service) -> None:
    running_service, client = service
    running_service.hold()
    running_service.predictor.cancelled.clear()
    body = picture()
    with socket.create_connection(("127.0.0.1", running_service.ports.rest)) as connection:
        head = f"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert running_service.predictor.waiting.wait(10)
    assert running_service.predictor.cancelled.wait(10)
    running_service.release()
    assert client.post("/api/v1/predict", content=body).status_code == 200


def test_a_client_that_leaves_during_its_upload_is_no_failure(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    running_service = service[0]
    gone = 'ripen_requests_total{code="499",method="predict"'
    before = running_service.metric(gone)
    with socket.create_connection(("127.0.0.1", running_service.ports.rest)) as connection:
        connection.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nabc")
    deadline = time.monotonic() + 10
    while running_service.metric(gone) == before:
        assert time.monotonic() < deadline
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_paths_and_methods_that_do_not_exist(service: Service) -> None:
    assert code(service[1].get("/api/v1/nothing")) == (404, "not_found")
    assert code(service[1].get("/api/v1/predict")) == (405, "method_not_allowed")


def test_requests_are_counted(service: Service) -> None:
    running_service, client = service
    series = 'ripen_requests_total{code="200",method="predict",model="default",protocol="rest",version="2"}'
    before = running_service.metric(series)
    client.post("/api/v1/predict", content=picture())
    assert running_service.metric(series) == before + 1
    client.post("/api/v1/predict", content=picture(), params={"model": "madeup"})
    assert running_service.metric('ripen_requests_total{code="404",method="predict",model="unknown"') >= 1
    assert "madeup" not in running_service.core.metrics.expose().decode()


def test_health_and_readiness(service: Service, tmp_path: Path) -> None:
    running_service, client = service
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    running_service.missing = "The live version is being loaded: default."
    answer = client.get("/readyz")
    running_service.missing = None
    assert code(answer) == (503, "not_ready")
    assert "default" in answer.json()["error"]["message"]
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        text = client.get(path)
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "ripen_requests_total{" in text.text
