"""Who supplied an image, by the key that it came with: over REST, gRPC, as an archive and as feedback."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import api_keys
import grpc
import httpx
import pytest
from running_service import RunningService, free_ports, picture, running
from zip_maker import good_zip

from contract.keys import Role
from contract.records import Bucket, Example
from protos import ripen_v1_pb2 as v1
from protos import ripen_v1_pb2_grpc

ZIP = {"Content-Type": "application/zip"}


@dataclass(frozen=True)
class Place:
    """A service that asks for keys, and two clients of it."""

    service: RunningService
    trusted: httpx.Client
    untrusted: httpx.Client
    untrusted_key: str

    def rows(self, contributor: str) -> list[Example]:
        rows = self.service.database.list_examples("default")
        return [row for row in rows if row.contributor == contributor]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with running(tmp_path, free_ports(home=tmp_path, behind_proxy=True)) as (service, _):
        roles = (Role.PREDICT, Role.LABEL)
        keys = [api_keys.add(service.database, name, *roles, trusted=name == "ours") for name in ("ours", "stranger")]
        service.keys.look()
        ours, stranger = (
            httpx.Client(base_url=f"{service.rest_url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=20)
            for key in keys
        )
        with ours, stranger:
            yield Place(service, ours, stranger, keys[1])


def upload(client: httpx.Client, *values: int, **form: str) -> httpx.Response:
    files = [("file", (f"{value}.png", picture(value))) for value in values]
    return client.post("/examples", data={"label": "apple", **form}, files=files)


def refusal(answer: httpx.Response) -> tuple[int, str, bool]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], "not trusted" in error["message"]


def test_what_a_stranger_uploads_is_only_trained_on(place: Place) -> None:
    assert upload(place.untrusted, *range(40)).status_code == 201
    assert upload(place.trusted, *range(40, 80)).status_code == 201
    assert {row.bucket for row in place.rows("stranger")} == {Bucket.TRAIN}
    assert {row.trusted for row in place.rows("stranger")} == {False}
    assert len({row.bucket for row in place.rows("ours")}) > 1
    assert {row.trusted for row in place.rows("ours")} == {True}
    listed = place.trusted.get("/examples", params={"limit": 1}).json()["examples"][0]
    assert (listed["contributor"], listed["trusted"]) == ("stranger", False)


def test_a_stranger_may_not_ask_for_the_hold_out(place: Place) -> None:
    assert refusal(upload(place.untrusted, 1, bucket="holdout")) == (403, "permission_denied", True)
    assert upload(place.trusted, 1, bucket="holdout").json()["examples"][0]["bucket"] == "holdout"
    again = upload(place.untrusted, 1).json()["examples"][0]
    assert (again["duplicate"], again["bucket"]) == (True, "holdout")  # it is there already, and stays what it is
    assert place.rows("stranger") == []


def test_a_strangers_archive_has_no_hold_out(place: Place) -> None:
    train = {"train/apple/1.png": picture(1), "train/orange/2.png": picture(2)}
    for query in ({}, {"partial": "true"}):
        whole = good_zip({**train, "validation/apple/3.png": picture(3)})
        answer = place.untrusted.post("/examples:import", params=query, content=whole, headers=ZIP)
        assert refusal(answer) == (403, "permission_denied", True)
    assert place.rows("stranger") == []
    answer = place.untrusted.post("/examples:import", content=good_zip(train), headers=ZIP)
    assert answer.json()["added"] == {"apple": 1, "orange": 1}
    assert {row.bucket for row in place.rows("stranger")} == {Bucket.TRAIN}


def test_a_strangers_feedback_is_only_trained_on(place: Place) -> None:
    buckets = set()
    for value in range(30):
        request_id = place.trusted.post("/predict", content=picture(value)).json()["request_id"]
        told = place.untrusted.post("/feedback", json={"request_id": request_id, "label": "apple"})
        assert told.status_code == 201, told.text
        buckets.add(told.json()["bucket"])
    assert buckets == {"train"}
    assert len(place.rows("stranger")) == 30


def test_grpc_is_rests(place: Place) -> None:
    metadata = (("authorization", f"Bearer {place.untrusted_key}"),)
    with grpc.insecure_channel(place.service.grpc_address) as channel:
        learning = ripen_v1_pb2_grpc.LearningStub(channel)
        classifier = ripen_v1_pb2_grpc.ClassifierStub(channel)
        images = [v1.AddExampleRequest(label="apple", data=picture(value)) for value in range(30)]
        added = learning.AddExamples(iter(images), metadata=metadata).examples
        assert {one.bucket for one in added} == {"train"}
        asked = v1.AddExampleRequest(label="apple", data=picture(99), bucket="holdout")
        with pytest.raises(grpc.RpcError) as refused:
            learning.AddExamples(iter([asked]), metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        predicted = classifier.Classify(v1.ClassifyRequest(images=[v1.Image(data=picture(100))]), metadata=metadata)
        said = v1.FeedbackRequest(request_id=predicted.request_id, correct=True)
        assert learning.GiveFeedback(said, metadata=metadata).bucket == "train"
        shown = learning.ListExamples(v1.ListExamplesRequest(), metadata=metadata).examples
        assert {(one.contributor, one.trusted) for one in shown} == {("stranger", False)}


def test_a_key_that_has_gone_meanwhile_is_not_trusted(place: Place) -> None:
    callers = place.service.core.callers
    assert callers.contributor("ours/0123456789ab").trusted is False
    assert callers.contributor("local").trusted
