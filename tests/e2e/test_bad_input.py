"""What users and strangers get wrong, against the real service: a clear error in every protocol, the server alive."""

import base64
import io
import json
import zlib
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest
import tiny_version
from PIL import Image
from service_process import Process, publish, started

from contract.artifact import MANIFEST
from protos import ripen_v1_pb2, ripen_v1_pb2_grpc
from service.tf_serving_stubs import get_model_metadata_pb2, predict_pb2, types_pb2

GOOD = tiny_version.picture(1)
LIMIT = 2**20
PREDICTION_SERVICE = "/tensorflow.serving.PredictionService"


def bomb() -> bytes:
    """A PNG whose header says 50 000 x 50 000 pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


NOISE = tiny_version.picture(2, side=200)
BAD_IMAGES = {
    "text": (b"This is no image.\n", 422, "invalid_image"),
    "bomb": (bomb(), 413, "image_too_large"),
    "truncated": (NOISE[: len(NOISE) // 2], 422, "invalid_image"),
    "empty": (b"", 422, "invalid_image"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Version 1 lives; version 2 was declared live after one of its bytes was flipped."""
    home = tmp_path_factory.mktemp("bad") / "home"
    publish(home, 1, bias=0.0)
    with started(home, RIPEN_MAX_REQUEST_BYTES=LIMIT) as process:
        process.wait_for(process.ready)
        yield process
        assert process.client.post("/api/v1/predict", content=GOOD).status_code == 200  # alive after all of it
        assert "Traceback" not in process.log.read_text()


@pytest.fixture
def channel(service: Process) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(service.grpc_address) as channel:
        yield channel


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in error["message"]
    return answer.status_code, error["code"], error["message"]


def tf_predict(channel: grpc.Channel, request: predict_pb2.PredictRequest) -> tuple[str, str]:
    call = channel.unary_unary(f"{PREDICTION_SERVICE}/Predict", predict_pb2.PredictRequest.SerializeToString)
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return caught.value.code().name, caught.value.details()


def tf_request(image: bytes = GOOD, model: str = "default", signature: str = "") -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    tensor = request.inputs["image_bytes"]
    tensor.dtype = types_pb2.DT_STRING
    tensor.tensor_shape.dim.add().size = 1
    tensor.string_val.append(image)
    return request


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_in_every_protocol(service: Process, channel: grpc.Channel, name: str) -> None:
    data, status, code = BAD_IMAGES[name]
    assert error_of(service.client.post("/api/v1/predict", content=data))[:2] == (status, code)
    body = {"instances": [{"b64": base64.b64encode(data).decode()}]}
    answer = service.client.post("/v1/models/default:predict", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert tf_predict(channel, tf_request(data))[0] == "INVALID_ARGUMENT"
    with pytest.raises(grpc.RpcError) as caught:
        ripen_v1_pb2_grpc.ClassifierStub(channel).Classify(
            ripen_v1_pb2.ClassifyRequest(images=[ripen_v1_pb2.Image(data=data)]), timeout=10
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    upload = service.client.post("/api/v1/examples", data={"label": "apple"}, files={"file": ("x.jpg", data)})
    assert error_of(upload)[:2] == (status, code)


def test_a_bad_image_fails_for_itself_alone(service: Process, channel: grpc.Channel) -> None:
    files = [("file", ("good.jpg", GOOD)), ("file", ("bad.txt", b"text")), ("file", ("good2.jpg", GOOD))]
    answer = service.client.post("/api/v1/predict", files=files)
    assert answer.status_code == 200
    first, second, third = answer.json()["predictions"]
    assert first["probability"] == third["probability"]
    assert (second["file"], second["error"]["code"]) == ("bad.txt", "invalid_image")
    images = [ripen_v1_pb2.Image(data=data) for data in (GOOD, b"text")]
    reply = ripen_v1_pb2_grpc.ClassifierStub(channel).Classify(ripen_v1_pb2.ClassifyRequest(images=images), timeout=10)
    assert reply.predictions[0].label in ("apple", "orange")
    assert reply.predictions[1].error.code == "invalid_image"


def test_unknown_names(service: Process, channel: grpc.Channel) -> None:
    post = service.client.post
    assert error_of(post("/api/v1/predict", content=GOOD, params={"model": "nobody"}))[:2] == (404, "unknown_model")
    assert error_of(post("/api/v1/predict", content=GOOD, params={"version": 9}))[:2] == (404, "unknown_version")
    assert error_of(service.client.get("/api/v1/jobs/none"))[:2] == (404, "unknown_job")
    assert error_of(post("/api/v1/versions/9:promote", json={"reason": "x"}))[:2] == (404, "unknown_version")
    instances = {"instances": [{"b64": base64.b64encode(GOOD).decode()}]}
    assert post("/v1/models/nobody:predict", json=instances).status_code == 404
    assert post("/v1/models/default/versions/9:predict", json=instances).status_code == 404
    assert post("/v1/models/default:predict", json={**instances, "signature_name": "x"}).status_code == 400
    assert tf_predict(channel, tf_request(model="nobody"))[0] == "NOT_FOUND"
    assert tf_predict(channel, tf_request(signature="x"))[0] == "FAILED_PRECONDITION"


def test_a_model_without_a_version_says_what_is_missing(service: Process, channel: grpc.Channel) -> None:
    service.client.post("/api/v1/models", json={"name": "empty", "classes": ["no", "yes"]}).raise_for_status()
    status, code, message = error_of(service.client.post("/api/v1/predict?model=empty", content=GOOD))
    assert (status, code) == (409, "no_live_version")
    assert "retrain" in message
    assert tf_predict(channel, tf_request(model="empty"))[0] == "FAILED_PRECONDITION"
    assert service.client.get("/readyz").status_code == 200
    status, code, message = error_of(service.client.post("/api/v1/retrain?model=empty"))
    assert (status, code) == (422, "invalid_dataset")
    assert "at least 2" in message


def test_labels_and_classes(service: Process) -> None:
    post = service.client.post
    wrong = post("/api/v1/examples", data={"label": "pear"}, files={"file": GOOD})
    assert error_of(wrong)[:2] == (422, "unknown_label")
    third = post("/api/v1/models", json={"name": "default", "classes": ["apple", "pear"]})
    assert error_of(third)[:2] == (409, "classes_fixed")
    three = post("/api/v1/models", json={"name": "three", "classes": ["a", "b", "c"]})
    assert error_of(three)[:2] == (400, "invalid_request")
    one = tiny_version.picture(50)
    post("/api/v1/examples", data={"label": "apple"}, files={"file": one}).raise_for_status()
    conflict = post("/api/v1/examples", data={"label": "orange"}, files={"file": one})
    assert error_of(conflict)[:2] == (409, "label_conflict")
    lone = post("/api/v1/retrain")
    assert error_of(lone)[:2] == (422, "invalid_dataset")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"recipe": 3}', b'{"recipe": {"alpha": NaN}}', b"\xff", b'{"x": 1}'])
def test_malformed_json(service: Process, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = service.client.post("/api/v1/retrain", content=body, headers=headers)
    assert error_of(answer)[:2] == (400, "invalid_request")
    assert service.client.post("/v1/models/default:predict", content=body).status_code == 400


def test_wrong_tensors(service: Process, channel: grpc.Channel) -> None:
    body = {"signature_name": "pixels", "instances": [{"image": [[[1, 2]]]}]}
    answer = service.client.post("/v1/models/default:predict", json=body)
    assert answer.status_code == 400
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.model_spec.signature_name = "pixels"
    tensor = request.inputs["image"]
    tensor.dtype = types_pb2.DT_UINT8
    for size in (1, 4, 4, 3):
        tensor.tensor_shape.dim.add().size = size
    tensor.tensor_content = np.zeros((1, 4, 4, 3), np.uint8).tobytes()
    code, message = tf_predict(channel, request)
    assert code == "INVALID_ARGUMENT"
    assert "8, 8, 3" in message
    tensor.dtype = types_pb2.DT_FLOAT
    tensor.tensor_content = np.zeros((1, 4, 4, 3), np.float32).tobytes()
    code, message = tf_predict(channel, request)
    assert code == "INVALID_ARGUMENT"
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["nothing"])
    metadata.model_spec.name = "default"
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"{PREDICTION_SERVICE}/GetModelMetadata")(metadata.SerializeToString(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_too_large_a_request(service: Process, channel: grpc.Channel) -> None:
    assert service.client.post("/api/v1/predict", content=bytes(LIMIT + 1)).status_code == 413
    assert tf_predict(channel, tf_request(bytes(LIMIT + 1)))[0] == "RESOURCE_EXHAUSTED"


def test_a_strange_host_or_origin_is_refused(service: Process) -> None:
    assert service.client.get("/healthz", headers={"host": "evil.example"}).status_code == 400
    answer = service.client.post("/api/v1/predict", content=GOOD, headers={"origin": "https://evil.example"})
    assert answer.status_code in (400, 403)


def test_a_version_with_a_flipped_byte_never_serves(service: Process) -> None:
    home = service.log.parent / "home"
    before = service.client.post("/api/v1/predict", content=GOOD).json()["predictions"]
    publish(home, 2, bias=3.0, promote=False)
    path = home / "storage" / "models" / "default" / "2" / "saved_model.pb"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    service.client.post("/api/v1/versions/2:promote", json={"reason": "a test"}).raise_for_status()
    service.wait_for(lambda: versions(service)[2]["status"]["error_code"] != "OK")
    told = versions(service)[2]
    assert (told["state"], told["status"]["error_code"]) == ("END", "DATA_LOSS")
    assert "saved_model.pb is altered" in told["status"]["message"]
    assert service.client.get("/api/v1/versions").json()["live"] == 1
    assert service.client.post("/api/v1/predict", content=GOOD).json()["predictions"] == before
    service.client.post("/api/v1/versions:rollback").raise_for_status()
    assert json.loads((path.parent / MANIFEST).read_text())["version"] == 2


def versions(service: Process) -> dict[int, dict[str, dict[str, str]]]:
    return {entry["version"]: entry for entry in service.client.get("/api/v1/versions").json()["versions"]}
