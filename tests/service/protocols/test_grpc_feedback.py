"""ripen.v1's feedback over a real socket, beside the REST that it mirrors."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from running_service import RunningService, picture, running

from protos import ripen_v1_pb2 as v1
from protos import ripen_v1_pb2_grpc
from service.protocols import rest_answers

Stubs = tuple[ripen_v1_pb2_grpc.ClassifierStub, ripen_v1_pb2_grpc.LearningStub, httpx.Client]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with running(tmp_path) as (service, _):
        yield service


@pytest.fixture
def stubs(service: RunningService) -> Iterator[Stubs]:
    with (
        grpc.insecure_channel(service.grpc_address) as channel,
        httpx.Client(base_url=f"{service.rest_url}/api/v1", timeout=20) as rest,
    ):
        yield ripen_v1_pb2_grpc.ClassifierStub(channel), ripen_v1_pb2_grpc.LearningStub(channel), rest


def failure(call: grpc.RpcError) -> tuple[str, str]:
    return call.code().name, dict(call.trailing_metadata())["ripen-error-code"]


def test_each_image_of_a_call_can_be_corrected_by_either_protocol(stubs: Stubs) -> None:
    classifier, learning, rest = stubs
    images = [v1.Image(data=picture(value), file=f"{value}.png") for value in (40, 204)]
    request_id = classifier.Classify(v1.ClassifyRequest(images=images)).request_id
    added = learning.GiveFeedback(v1.FeedbackRequest(request_id=request_id, index=1, label="apple"))
    assert (added.file, added.label, added.duplicate) == ("204.png", "apple", False)
    again = rest.post("/feedback", json={"request_id": request_id, "index": 1, "correct": False}).json()
    assert (again["id"], again["duplicate"]) == (added.id, True)
    assert learning.GiveFeedback(v1.FeedbackRequest(request_id=request_id, correct=True)).label == "apple"


def test_each_image_of_a_stream_has_a_request_id_of_its_own(stubs: Stubs) -> None:
    classifier, learning, _ = stubs
    messages = [v1.ClassifyStreamRequest(image=v1.Image(data=data)) for data in (picture(1), b"x", picture(250))]
    answers = list(classifier.ClassifyStream(iter(messages)))
    assert len({answer.request_id for answer in answers}) == 3
    first, bad, last = (v1.FeedbackRequest(request_id=answer.request_id, correct=False) for answer in answers)
    assert [learning.GiveFeedback(one).label for one in (first, last)] == ["orange", "apple"]
    with pytest.raises(grpc.RpcError) as refused:
        learning.GiveFeedback(bad)
    assert failure(refused.value) == ("NOT_FOUND", "unknown_request")


def test_review_is_rests(stubs: Stubs) -> None:
    classifier, learning, rest = stubs
    for value in (10, 100, 240):
        classifier.Classify(v1.ClassifyRequest(images=[v1.Image(data=picture(value), file="a.png")]))
    answer = learning.ListReview(v1.ListReviewRequest())
    told = rest.get("/review").json()["predictions"]
    for one, other in zip(answer.predictions, told, strict=True):
        assert one.predicted_at.ToJsonString()[:19] == other.pop("predicted_at")[:19]
        assert one.probability == pytest.approx(other.pop("probability"))
        shown = MessageToDict(one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        del shown["predicted_at"], shown["probability"]
        assert shown == {**other, "version": str(other["version"])}
    assert len(learning.ListReview(v1.ListReviewRequest(limit=2)).predictions) == 2
    first = answer.predictions[0]
    image = learning.GetReviewImage(v1.GetReviewImageRequest(request_id=first.request_id))
    assert image.format == "PNG"
    assert image.data == rest.get(f"/review/{first.request_id}/0/image").content


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (v1.FeedbackRequest(request_id="none", label="apple"), ("NOT_FOUND", "unknown_request")),
        (v1.FeedbackRequest(request_id="..%2f", label="apple"), ("INVALID_ARGUMENT", "invalid_request")),
        (v1.FeedbackRequest(request_id="r", index=-1, label="apple"), ("INVALID_ARGUMENT", "invalid_request")),
        (v1.FeedbackRequest(request_id="r", model="no", label="apple"), ("NOT_FOUND", "unknown_model")),
        (v1.FeedbackRequest(request_id="r", label="a\0b"), ("INVALID_ARGUMENT", "invalid_request")),
        (v1.ListReviewRequest(limit=101), ("INVALID_ARGUMENT", "invalid_request")),
        (v1.GetReviewImageRequest(request_id="none"), ("NOT_FOUND", "unknown_request")),
    ],
)
def test_errors_are_rests(stubs: Stubs, request_: object, expected: tuple[str, str]) -> None:
    learning = stubs[1]
    method = {
        v1.FeedbackRequest: learning.GiveFeedback,
        v1.ListReviewRequest: learning.ListReview,
        v1.GetReviewImageRequest: learning.GetReviewImage,
    }[type(request_)]
    with pytest.raises(grpc.RpcError) as refused:
        method(request_)
    assert failure(refused.value) == expected


def test_a_call_must_say_something(stubs: Stubs) -> None:
    classifier, learning, _ = stubs
    request_id = classifier.Classify(v1.ClassifyRequest(images=[v1.Image(data=picture(1))])).request_id
    with pytest.raises(grpc.RpcError) as refused:
        learning.GiveFeedback(v1.FeedbackRequest(request_id=request_id))
    assert failure(refused.value) == ("INVALID_ARGUMENT", "invalid_request")


def test_the_messages_have_rests_fields() -> None:
    for record, message in (
        (rest_answers.ReviewEntry, v1.ReviewEntry),
        (rest_answers.ReviewAnswer, v1.ListReviewResponse),
    ):
        assert [field.name for field in fields(record)] == [field.name for field in message.DESCRIPTOR.fields]
