"""Feedback and review over a real socket, with a fake predictor, real SQLite, storage in memory."""

import io
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from running_service import CLASSES, RunningService, free_ports, picture, running

from contract.errors import StorageFull

Service = tuple[RunningService, httpx.Client]
ORANGE, APPLE = picture(204), picture(40)


def blank() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), (250, 10, 10)).save(stream, "JPEG")
    return stream.getvalue()


BLANK = blank()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path) as both:
        yield both


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def predict(client: httpx.Client, *images: bytes, **headers: str) -> str:
    files = [("file", (f"{number}.png", image)) for number, image in enumerate(images)]
    answer = client.post("/api/v1/predict", files=files, headers=headers)
    assert answer.status_code == 200
    return str(answer.json()["request_id"])


def give(client: httpx.Client, request_id: str, **said: object) -> httpx.Response:
    return client.post("/api/v1/feedback", json={"request_id": request_id, **said})


def review(client: httpx.Client, **query: object) -> list[dict[str, object]]:
    answer = client.get("/api/v1/review", params=query)
    assert answer.status_code == 200
    return list(answer.json()["predictions"])


def test_a_correction_labels_the_image_of_a_prediction(service: Service) -> None:
    running_service, client = service
    request_id = predict(client, APPLE, b"no picture", ORANGE)
    answer = give(client, request_id, index=2, label="apple")
    assert answer.status_code == 201
    told = answer.json()
    assert (told["file"], told["label"], told["duplicate"]) == ("2.png", "apple", False)
    (stored,) = client.get("/api/v1/examples").json()["examples"]
    assert (stored["id"], stored["label"], stored["digest"]) == (told["id"], "apple", told["digest"])
    assert list(running_service.storage.objects.values()) == [ORANGE]

    again = give(client, request_id, index=2, label="apple")
    assert (again.status_code, again.json()["duplicate"], again.json()["id"]) == (201, True, told["id"])
    assert code(give(client, request_id, index=2, label="orange")) == (409, "label_conflict")
    assert code(give(client, request_id, index=1, label="apple")) == (404, "unknown_request")
    assert running_service.metric('ripen_feedback_total{model="default",said="corrected"}') == 1


@pytest.mark.parametrize(
    ("image", "correct", "label", "said"),
    [
        (ORANGE, True, "orange", "confirmed"),
        (ORANGE, False, "apple", "corrected"),
        (APPLE, True, "apple", "confirmed"),
        (APPLE, False, "orange", "corrected"),
    ],
)
def test_right_or_wrong_is_enough(service: Service, image: bytes, correct: bool, label: str, said: str) -> None:
    running_service, client = service
    assert give(client, predict(client, image), correct=correct).json()["label"] == label
    assert running_service.metric(f'ripen_feedback_total{{model="default",said="{said}"}}') == 1


def test_every_rest_way_to_a_prediction_can_be_corrected(service: Service) -> None:
    client = service[1]
    raw = client.post("/api/v1/predict", content=picture(1)).json()["request_id"]
    assert give(client, raw, label="orange").json()["file"] == f"{raw}-0"
    named = client.post("/api/v1/predict", content=picture(2), headers={"X-Request-Id": "shop.17"})
    assert give(client, named.headers["x-request-id"], label="orange").status_code == 201
    parameters = client.post("/api/v1/predict?version=01", content=picture(3))  # not the raw route
    assert give(client, parameters.json()["request_id"], label="orange").status_code == 201
    foreign = client.post("/v1/models/default:predict", json={"instances": [{"b64": b64encode(picture(4)).decode()}]})
    assert give(client, foreign.headers["x-request-id"], label="orange").status_code == 201
    pixels = client.post(
        "/v1/models/default:predict",
        json={"signature_name": "pixels", "instances": [{"image": [[[0, 0, 0]] * 8] * 8}]},
    )
    assert pixels.status_code == 200
    assert code(give(client, pixels.headers["x-request-id"], label="orange")) == (404, "unknown_request")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"label": "pear"}, (422, "unknown_label")),
        ({}, (400, "invalid_request")),
        ({"label": "apple", "correct": True}, (400, "invalid_request")),
        ({"label": "apple", "index": 1}, (404, "unknown_request")),
        ({"label": "apple", "index": -1}, (400, "invalid_request")),
        ({"label": "apple", "index": "0"}, (400, "invalid_request")),
        ({"correct": 1}, (400, "invalid_request")),
        ({"label": "apple", "request_id": "other"}, (404, "unknown_request")),
        ({"label": "apple", "request_id": "../x"}, (400, "invalid_request")),
        ({"label": "apple", "bucket": "holdout"}, (400, "invalid_request")),
    ],
)
def test_what_cannot_be_used_says_so(service: Service, body: dict[str, object], expected: tuple[int, str]) -> None:
    client = service[1]
    answer = client.post("/api/v1/feedback", json={"request_id": predict(client, ORANGE), **body})
    assert code(answer) == expected
    assert client.get("/api/v1/examples").json()["examples"] == []
    assert len(review(client)) == 1


def test_a_storage_that_is_full_leaves_the_image_to_be_labelled(service: Service) -> None:
    running_service, client = service
    request_id = predict(client, ORANGE)
    running_service.storage.error = StorageFull("No space left.")
    assert code(give(client, request_id, label="apple")) == (507, "storage_full")
    running_service.storage.error = None
    assert give(client, request_id, label="apple").json()["duplicate"] is False


def test_other_models_and_their_requests(service: Service) -> None:
    client = service[1]
    request_id = predict(client, ORANGE)
    post, body = client.post, {"request_id": request_id, "label": "apple"}
    assert code(post("/api/v1/feedback?model=other", json=body)) == (404, "unknown_model")
    assert code(post("/api/v1/feedback?model=empty", json=body)) == (409, "classes_not_declared")
    assert client.get("/api/v1/review?model=empty").json() == {"predictions": []}
    assert code(client.get("/api/v1/review?model=other")) == (404, "unknown_model")


def test_review_proposes_what_has_no_label_and_says_why(service: Service) -> None:
    client = service[1]
    ids = {value: predict(client, picture(value)) for value in range(100, 160, 6)}
    predict(client, picture(100))  # the same image again
    proposed = review(client)
    assert len(proposed) == 10
    assert [one["reason"] for one in proposed] == ["typical"] * 6 + ["random"] + ["typical"] * 3
    one = next(one for one in proposed if one["request_id"] == ids[124])
    assert (one["index"], one["model"], one["version"], one["file"]) == (0, "default", 2, "0.png")
    assert (one["label"], one["threshold"]) == ("apple", 0.5)
    assert one["probability"] == pytest.approx(124 / 255)
    assert str(one["predicted_at"]).endswith("Z")
    assert give(client, ids[124], correct=True).status_code == 201
    assert give(client, str(review(client, limit=1)[0]["request_id"]), label="apple").status_code == 201
    left = {str(one["request_id"]) for one in review(client)}
    assert ids[124] not in left
    assert len(left) == 8
    assert len(review(client, limit=3)) == 3
    for query in ({"limit": 0}, {"limit": 101}):
        assert code(client.get("/api/v1/review", params=query)) == (400, "invalid_request")


def test_with_enough_labels_review_asks_for_what_is_doubted(service: Service) -> None:
    client = service[1]
    for label, first in zip(CLASSES, (0, 100), strict=True):
        files = [("file", (f"{value}.png", picture(value, side=17))) for value in range(first, first + 50)]
        assert client.post("/api/v1/examples", data={"label": label}, files=files).status_code == 201
    for value in (0, 20, 60, 126, 200, 255):
        predict(client, picture(value))
    first = review(client, limit=2)[0]
    assert (first["reason"], first["probability"]) == ("uncertain", pytest.approx(126 / 255))


def test_the_image_is_shown_as_what_it_is_and_without_its_metadata(service: Service) -> None:
    client = service[1]
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    Image.open(io.BytesIO(picture(200))).save(stream, "JPEG", exif=exif)
    for data, media_type in (
        (stream.getvalue(), "image/jpeg"),
        (picture(1), "image/png"),
        (picture(9, form="WEBP"), "image/webp"),
    ):
        request_id = predict(client, data)
        answer = client.get(f"/api/v1/review/{request_id}/0/image")
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert b"taken at home" not in answer.content
        with Image.open(io.BytesIO(answer.content)) as shown:
            assert shown.size == (16, 16)
    assert code(client.get(f"/api/v1/review/{request_id}/1/image")) == (404, "unknown_request")
    assert code(client.get("/api/v1/review/nobody/0/image")) == (404, "unknown_request")
    assert code(client.get("/api/v1/review/nobody/x/image")) == (400, "invalid_request")


def test_what_nothing_can_be_learnt_from_is_not_proposed(service: Service) -> None:
    client = service[1]
    small, blank, good = predict(client, picture(1, side=15)), predict(client, BLANK), predict(client, picture(1))
    assert [one["request_id"] for one in review(client)] == [good]
    assert code(give(client, small, label="apple")) == (422, "image_too_small")
    assert code(give(client, blank, label="apple")) == (422, "blank_image")


def test_a_service_that_keeps_nothing_says_why(tmp_path: Path) -> None:
    with running(tmp_path, free_ports(home=tmp_path, keep_images_bytes=0)) as (running_service, client):
        request_id = predict(client, ORANGE)
        for answer in (
            give(client, request_id, label="apple"),
            client.get("/api/v1/review"),
            client.get(f"/api/v1/review/{request_id}/0/image"),
        ):
            assert code(answer) == (409, "images_not_kept")
            assert "RIPEN_KEEP_IMAGES_BYTES" in answer.json()["error"]["message"]
        assert running_service.metric("ripen_kept_images ") == 0


def test_metrics_say_how_much_is_kept_and_forget_a_model(service: Service) -> None:
    running_service, client = service
    request_id = predict(client, ORANGE, APPLE)
    assert running_service.metric("ripen_kept_images ") == 2
    assert running_service.metric("ripen_kept_images_bytes ") == len(ORANGE) + len(APPLE)
    give(client, request_id, label="apple")
    running_service.core.metrics.forget_model("default")
    assert running_service.metric("ripen_feedback_total{") == 0
