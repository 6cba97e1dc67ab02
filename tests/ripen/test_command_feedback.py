"""`ripen feedback` and `ripen review` as a user types them, and the client's methods behind them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_rest_service import CREATED, FakeRestService, Reply, refusal

from ripen.__main__ import main
from ripen.client import Client
from ripen.errors import ApiError

STORED = {"id": "e1", "file": "a.png", "label": "apple", "bucket": "train", "digest": "d", "duplicate": False}
PROPOSED = {
    "request_id": "r1",
    "index": 2,
    "model": "default",
    "version": 3,
    "label": "orange",
    "probability": 0.53,
    "threshold": 0.5,
    "file": "a[b].png",
    "predicted_at": CREATED,
    "reason": "uncertain",
}


def run(service: FakeRestService, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--url", service.url])


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["r1", "--label", "apple"], {"request_id": "r1", "index": 0, "label": "apple"}),
        (["r1/2", "--right"], {"request_id": "r1", "index": 2, "correct": True}),
        (["shop.1-a/17", "--wrong"], {"request_id": "shop.1-a", "index": 17, "correct": False}),
    ],
)
def test_feedback_sends_what_was_said(service: FakeRestService, arguments: list[str], sent: dict[str, object]) -> None:
    service.answer("POST /api/v1/feedback", Reply(STORED, 201))
    result = run(service, "feedback", *arguments)
    assert result.exit_code == 0
    assert result.output == "a.png is apple (bucket train).\n"
    assert json.loads(service.received[0].body) == sent


@pytest.mark.parametrize(
    "arguments",
    [["r1"], ["r1", "--right", "--label", "apple"], ["r1/x", "--right"], ["../r1", "--right"], ["r1/1/2", "--right"]],
)
def test_feedback_that_says_nothing_is_wrong_usage(service: FakeRestService, arguments: list[str]) -> None:
    assert run(service, "feedback", *arguments).exit_code == 2
    assert service.received == []


def test_feedback_says_what_the_service_says(service: FakeRestService) -> None:
    unknown = refusal(404, "unknown_request", "No image 0.")
    service.answer("POST /api/v1/feedback", unknown, {**STORED, "duplicate": True})
    result = run(service, "feedback", "r1", "--right")
    assert (result.exit_code, "No image 0." in result.output) == (1, True)
    assert "as it was already" in run(service, "feedback", "r1", "--right").output


def test_review_lists_and_saves_the_images(service: FakeRestService, tmp_path: Path) -> None:
    images = {1: b"\x89PNG1", 2: b"\xff\xd8\xff2", 3: b"RIFF3"}
    service.answer("GET /api/v1/review", {"predictions": [{**PROPOSED, "index": index} for index in images]})
    for index, data in images.items():
        service.answer(f"GET /api/v1/review/r1/{index}/image", Reply(data))
    result = run(service, "review", "--limit", "3", "--save", tmp_path / "look", "--model", "fruit")
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines()[1:]] == [
        [f"r1/{index}", "orange", "0.5300", "3", "uncertain", "a[b].png"] for index in images
    ]
    saved = {path.name: path.read_bytes() for path in (tmp_path / "look").iterdir()}
    assert saved == {"r1-1.png": images[1], "r1-2.jpg": images[2], "r1-3.webp": images[3]}
    assert service.received[0].query == {"model": "fruit", "limit": "3"}
    assert service.received[1].query == {"model": "fruit"}


def test_the_client_reads_a_review_and_its_refusals(service: FakeRestService) -> None:
    service.answer("GET /api/v1/review", {"predictions": [PROPOSED], "suspects": []})
    service.answer("GET /api/v1/review/a%20b/0/image", refusal(409, "images_not_kept"))
    client = Client(service.url)
    (one,) = client.review().predictions
    assert (one.named, one.reason, one.predicted_at.year) == ("r1/2", "uncertain", 2026)
    with pytest.raises(ApiError, match="no") as refused:
        client.review_image("a b")
    assert refused.value.code == "images_not_kept"
