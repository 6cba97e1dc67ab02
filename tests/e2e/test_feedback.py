"""Feedback on predictions of a real service: what is kept, labelled, proposed and forgotten."""

from pathlib import Path

import grpc
import httpx
import pytest
import tiny_version
from service_process import publish, started

from protos import ripen_v1_pb2 as v1
from protos import ripen_v1_pb2_grpc

PICTURE = tiny_version.picture(1)


def feedback(client: httpx.Client, request_id: str, **said: object) -> httpx.Response:
    return client.post("/api/v1/feedback", json={"request_id": request_id, **said})


@pytest.mark.e2e
def test_predictions_of_either_protocol_are_corrected_and_forgotten_by_a_restart(tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(home, 1, bias=0.5)
    with started(home) as process:
        client = process.client
        process.wait_for(process.ready)
        by_rest = client.post("/api/v1/predict", content=PICTURE).json()
        with grpc.insecure_channel(process.grpc_address) as channel:
            images = [v1.Image(data=b"no picture"), v1.Image(data=tiny_version.picture(2), file="two.png")]
            by_grpc = ripen_v1_pb2_grpc.ClassifierStub(channel).Classify(v1.ClassifyRequest(images=images), timeout=20)
        proposed = client.get("/api/v1/review").json()["predictions"]
        assert {one["request_id"] for one in proposed} == {by_rest["request_id"], by_grpc.request_id}
        assert feedback(client, by_grpc.request_id, index=0, label="apple").status_code == 404
        stored = feedback(client, by_grpc.request_id, index=1, correct=False).json()
        assert stored["label"] != by_grpc.predictions[1].label
        assert stored["file"] == "two.png"
        form = {"data": {"label": stored["label"]}, "files": {"file": tiny_version.picture(2)}}
        assert client.post("/api/v1/examples", **form).json()["examples"][0]["duplicate"]
        left = client.get("/api/v1/review").json()["predictions"]
        assert [one["request_id"] for one in left] == [by_rest["request_id"]]
    with started(home, RIPEN_KEEP_IMAGES_BYTES=0) as process:
        process.wait_for(process.ready)
        request_id = process.client.post("/api/v1/predict", content=PICTURE).json()["request_id"]
        refused = feedback(process.client, request_id, label="apple")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "images_not_kept")
    with started(home) as process:
        process.wait_for(process.ready)
        forgotten = feedback(process.client, by_rest["request_id"], label="apple")
        assert (forgotten.status_code, forgotten.json()["error"]["code"]) == (404, "unknown_request")
