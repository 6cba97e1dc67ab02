"""The client against a real HTTP server: what it sends, what it makes of answers, what it repeats."""

import socket
from pathlib import Path

import pytest
from fake_rest_service import CREATED, FakeRestService, Reply, events, job, refusal, version, versions

import ripen
from ripen import ApiError, Client, ServiceUnreachable, UnexpectedAnswer

ANSWER = {
    "request_id": "r1",
    "model": {"name": "fruit", "version": 3},
    "predictions": [
        {"label": "orange", "probability": 0.97, "threshold": 0.5, "file": "a.jpg"},
        {"file": "b.jpg", "error": {"code": "invalid_image", "message": "Not a JPEG, PNG or WebP image."}},
    ],
}


def test_predict_sends_files_and_bytes_and_reads_errors_of_single_images(
    service: FakeRestService, tmp_path: Path
) -> None:
    service.answer("POST /api/v1/predict", ANSWER)
    path = tmp_path / "a.jpg"
    path.write_bytes(b"first")
    with Client(service.url, model="fruit") as client:
        answer = client.predict([path, b"second"], version=3)
    (request,) = service.received
    assert request.query == {"model": "fruit", "version": "3"}
    assert request.files == 2
    assert b'filename="a.jpg"' in request.body
    assert b"second" in request.body
    assert (answer.model.version, answer.predictions[0].probability) == (3, 0.97)
    assert answer.predictions[1].label is None
    assert answer.predictions[1].error
    assert answer.predictions[1].error.code == "invalid_image"


def test_an_error_of_the_service_keeps_code_message_status_and_request_id(service: FakeRestService) -> None:
    service.answer("GET /api/v1/jobs/no%2Fjob", refusal(404, "unknown_job", "There is no job 'no/job'."))
    with pytest.raises(ApiError, match="There is no job") as caught:
        Client(service.url).job("no/job")
    assert (caught.value.code, caught.value.status, caught.value.request_id) == ("unknown_job", 404, "r1")


def test_a_busy_service_is_asked_again_after_the_time_that_it_names(service: FakeRestService) -> None:
    service.answer("POST /api/v1/predict", refusal(429, "overloaded", Retry_After="0"), ANSWER)
    assert Client(service.url).predict(b"x").request_id == "r1"
    assert len(service.received) == 2


def test_it_gives_up_after_some_repeats(service: FakeRestService) -> None:
    service.answer(
        "GET /api/v1/versions", refusal(503, "database_unavailable", "The database is locked.", Retry_After="0")
    )
    with pytest.raises(ApiError, match="locked"):
        Client(service.url).versions()
    assert 2 <= len(service.received) <= 10


@pytest.mark.parametrize("call", [lambda c: c.promote(2, "why"), lambda c: c.rollback(), lambda c: c.cancel("j1")])
def test_what_must_not_happen_twice_is_sent_once(service: FakeRestService, call) -> None:
    for route in ("versions/2:promote", "versions:rollback", "jobs/j1:cancel"):
        service.answer(f"POST /api/v1/{route}", refusal(503, "draining", Retry_After="0"))
    with pytest.raises(ApiError):
        call(Client(service.url))
    assert len(service.received) == 1


def test_a_repeated_retrain_carries_the_same_key(service: FakeRestService) -> None:
    service.answer("POST /api/v1/retrain", refusal(503, "draining", Retry_After="0"), Reply(job(), 202))
    assert Client(service.url).retrain({"backbone": "Compact"}, gate_policy="always").id == "j1"
    first, second = service.received
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert b'"gate":{"policy":"always"}' in first.body


def test_nobody_there_names_the_url_and_the_command() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ServiceUnreachable, match=f"{url}.*ripen up"):
            Client(url).versions()


def test_another_program_on_the_port_is_noticed(service: FakeRestService) -> None:
    service.answer("GET /api/v1/versions", Reply(b"<html>hello</html>"))
    service.answer("GET /api/v1/jobs", Reply(b"<html>no</html>", 403))
    for call in (Client(service.url).versions, Client(service.url).jobs):
        with pytest.raises(UnexpectedAnswer, match="another program"):
            call()


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ServiceUnreachable, match="not a URL"):
        Client("http://127.0.0.1:abc").versions()


def test_watch_reconnects_until_the_job_has_ended(service: FakeRestService) -> None:
    running = job("running", progress={"step": "train", "fraction": 0.5, "history": []})
    service.answer(
        "GET /api/v1/jobs/j1/events", events(job(), running), refusal(503, "draining"), events(job("succeeded"))
    )
    seen = list(Client(service.url).watch("j1"))
    assert [one.state for one in seen] == ["queued", "running", "succeeded"]
    assert seen[-1].verdict
    assert seen[-1].verdict.candidate.accuracy == 0.95


def test_watch_ends_with_the_error_of_an_unknown_job(service: FakeRestService) -> None:
    service.answer("GET /api/v1/jobs/j1/events", refusal(404, "unknown_job"))
    with pytest.raises(ApiError):
        list(Client(service.url).watch("j1"))


def test_readiness_is_none_or_the_reason(service: FakeRestService) -> None:
    service.answer("GET /readyz", refusal(503, "not_ready", "version 1 is loading"), {"status": "ready"})
    client = Client(service.url)
    assert client.ready() == "version 1 is loading"
    assert client.ready() is None


def test_the_other_answers(service: FakeRestService) -> None:
    change = {"version": 1, "replaced": 2, "kind": "rollback", "reason": "", "created_at": CREATED}
    stored = {"id": "e1", "file": "0", "label": "apple", "bucket": "holdout", "digest": "d", "duplicate": True}
    page = {"examples": [stored], "counts": [{"label": "apple", "bucket": "train", "count": 7}], "next": None}
    service.answer("GET /api/v1/versions", versions(version(2), version(1, live=False)))
    service.answer("POST /api/v1/versions:rollback", change)
    service.answer("POST /api/v1/examples", Reply({"examples": [stored], "rejected": []}, 201))
    service.answer("GET /api/v1/examples", page)
    service.answer("POST /api/v1/models", {"name": "fruit", "classes": ["apple", "orange"], "live_version": None})
    client = Client(service.url, model="fruit")
    assert [one.version for one in client.versions().versions] == [2, 1]
    assert client.rollback("worse").replaced == 2
    assert client.add_examples([b"x"], "apple", bucket="holdout").examples[0].duplicate
    assert client.examples(label="apple").counts[0].count == 7
    assert client.create_model(["apple", "orange"]).classes == ("apple", "orange")
    assert service.requests("GET /api/v1/examples")[0].query == {"model": "fruit", "label": "apple", "limit": "100"}


def test_the_package_exports_what_it_says() -> None:
    assert all(getattr(ripen, name) for name in ripen.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = ripen.nothing
