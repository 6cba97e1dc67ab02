"""TensorFlow Serving's gRPC, our own, and the health service over a real socket."""

import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from running_service import SIDE, RunningService, picture, running

from contract.errors import EngineUnavailable, Overloaded
from protos import ripen_v1_pb2, ripen_v1_pb2_grpc
from service.protocols.grpc_health import MAX_WATCHES
from service.protocols.tensors import Message
from service.tf_serving_stubs import get_model_metadata_pb2, get_model_status_pb2, predict_pb2, types_pb2

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running(tmp_path_factory.mktemp("service")) as (running_service, _):
        yield running_service


@pytest.fixture(scope="module")
def channel(service: RunningService) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(service.grpc_address) as channel:
        yield channel


def predict_request(*images: bytes, model: str = "default", name: str = "image_bytes") -> Message:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    tensor = request.inputs[name]
    tensor.dtype = types_pb2.DT_STRING
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    return request


def pixels_request(*values: int) -> Message:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.model_spec.signature_name = "pixels"
    tensor = request.inputs["image"]
    tensor.dtype = types_pb2.DT_UINT8
    for size in (len(values), SIDE, SIDE, 3):
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = np.repeat(np.array(values, np.uint8), SIDE * SIDE * 3).tobytes()
    return request


def call(channel: grpc.Channel, path: str, request: Message, response: Message, timeout: float = 10) -> Message:
    method = channel.unary_unary(
        path, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
    )
    return method(request, timeout=timeout)


def predict(channel: grpc.Channel, request: Message) -> Message:
    return call(channel, PREDICT, request, predict_pb2.PredictResponse)


def refused(channel: grpc.Channel, path: str, request: Message, response: Message) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, path, request, response)
    return caught.value.code().name, caught.value.details()


def test_predict_answers_tensors(channel: grpc.Channel) -> None:
    answer = predict(channel, predict_request(picture(0), picture(204)))
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("default", 2, "serving_default")
    probability, label = answer.outputs["probability"], answer.outputs["label"]
    assert list(probability.float_val) == pytest.approx([0.0, 0.8])
    assert [dim.size for dim in probability.tensor_shape.dim] == [2, 1]
    assert list(label.string_val) == [b"apple", b"orange"]
    assert [dim.size for dim in label.tensor_shape.dim] == [2, 1]


def test_predict_takes_pixels_a_version_and_a_filter(channel: grpc.Channel) -> None:
    request = pixels_request(0, 204, 51)
    request.model_spec.version.value = 1
    request.output_filter.append("probability")
    answer = predict(channel, request)
    assert answer.model_spec.version.value == 1
    assert list(answer.outputs) == ["probability"]
    assert list(answer.outputs["probability"].float_val) == pytest.approx([0.0, 0.8, 0.2])


def test_predict_refuses_in_its_words(channel: grpc.Channel) -> None:
    def told(request: Message) -> tuple[str, str]:
        return refused(channel, PREDICT, request, predict_pb2.PredictResponse)

    assert told(predict_pb2.PredictRequest()) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    nameless = predict_pb2.PredictRequest()
    nameless.model_spec.signature_name = "x"
    assert told(nameless) == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")
    labelled = predict_request(picture())
    labelled.model_spec.version_label = "stable"
    assert told(labelled) == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")
    assert told(predict_request(model="other")) == ("NOT_FOUND", "Servable not found for request: Latest(other)")
    versioned = predict_request()
    versioned.model_spec.version.value = 7
    assert told(versioned) == ("NOT_FOUND", "Servable not found for request: Specific(default, 7)")
    assert told(predict_request(model="empty"))[0] == "FAILED_PRECONDITION"
    signed = predict_request(picture())
    signed.model_spec.signature_name = "x"
    assert told(signed) == ("FAILED_PRECONDITION", 'Serving signature key "x" not found.')
    assert "Sent extra: {a}. Missing but required: {image_bytes}." in told(predict_request(picture(), name="a"))[1]
    filtered = predict_request(picture())
    filtered.output_filter.append("x")
    assert told(filtered)[0] == "INVALID_ARGUMENT"
    code, text = told(predict_request(picture(), b"hello"))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("Image 1 of 2: Not a JPEG")
    wrong = pixels_request(1)
    wrong.inputs["image"].dtype = types_pb2.DT_FLOAT
    assert "DT_FLOAT with shape [1, 8, 8, 3]; expected DT_UINT8" in told(wrong)[1]


def test_errors_have_their_code_and_no_secrets(service: RunningService, channel: grpc.Channel) -> None:
    told = []
    for error in (Overloaded("Full."), EngineUnavailable("Died."), ValueError("secret"), EngineUnavailable("x" * 2000)):
        service.predictor.error = error
        told.append(refused(channel, PREDICT, predict_request(picture()), predict_pb2.PredictResponse))
    service.predictor.error = None
    assert told[:2] == [("RESOURCE_EXHAUSTED", "Full."), ("UNAVAILABLE", "Died.")]
    assert told[2][0] == "INTERNAL"
    assert "secret" not in told[2][1]
    assert told[3][1] == "x" * 1024 + "...TRUNCATED"


def test_what_is_not_protobuf_and_what_is_not_there(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(PREDICT)(b"\xff\xff\xff", timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "tensorflow.serving.PredictRequest" in caught.value.details()
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tensorflow.serving.PredictionService/Classify")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_deadlines_are_passed_on_and_end_the_prediction(service: RunningService, channel: grpc.Channel) -> None:
    service.hold()
    service.predictor.cancelled.clear()
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, PREDICT, predict_request(picture()), predict_pb2.PredictResponse, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert service.predictor.cancelled.wait(10)
    service.release()
    timeout_s = service.predictor.asked[-1].timeout_s
    assert timeout_s is not None
    assert 0 < timeout_s <= 0.6  # grpc rounds up


def test_metadata(channel: grpc.Channel) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "default"
    answer = call(channel, METADATA, request, get_model_metadata_pb2.GetModelMetadataResponse)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert answer.model_spec.version.value == 2
    assert set(signatures.signature_def) == {"serving_default", "pixels"}
    other = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["graph"])
    other.model_spec.name = "default"
    told = refused(channel, METADATA, other, get_model_metadata_pb2.GetModelMetadataResponse)
    assert told[0] == "INVALID_ARGUMENT"


def test_status(channel: grpc.Channel) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "default"
    answer = call(channel, STATUS, request, get_model_status_pb2.GetModelStatusResponse)
    told = [(one.version, one.state, one.status.error_code) for one in answer.model_version_status]
    assert told == [(3, 50, 13), (2, 30, 0), (1, 30, 0)]
    request.model_spec.version.value = 9
    assert refused(channel, STATUS, request, get_model_status_pb2.GetModelStatusResponse) == (
        "NOT_FOUND",
        "Could not find version 9 of model default",
    )


def test_our_own_classifies_each_image_alone(service: RunningService, channel: grpc.Channel) -> None:
    stub = ripen_v1_pb2_grpc.ClassifierStub(channel)
    images = [
        ripen_v1_pb2.Image(data=picture(204), file="a.png"),
        ripen_v1_pb2.Image(data=b"hello", file="b.txt"),
    ]
    answer = stub.Classify(ripen_v1_pb2.ClassifyRequest(images=images), timeout=10)
    assert (answer.model.name, answer.model.version, len(answer.request_id)) == ("default", 2, 32)
    good, bad = answer.predictions
    assert (good.label, good.file, good.error.code) == ("orange", "a.png", "")
    assert (good.probability, good.threshold) == pytest.approx((0.8, 0.5))
    assert (bad.label, bad.file, bad.error.code) == ("", "b.txt", "invalid_image")
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(ripen_v1_pb2.ClassifyRequest(images=images[1:]), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(ripen_v1_pb2.ClassifyRequest(model="other", images=images), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(ripen_v1_pb2.ClassifyRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (
        service.metric('ripen_requests_total{code="NOT_FOUND",method="Classify",model="unknown",protocol="grpc"') >= 1
    )


def test_too_many_images_are_counted_before_they_are_looked_at(service: RunningService, channel: grpc.Channel) -> None:
    stub = ripen_v1_pb2_grpc.ClassifierStub(channel)
    asked = len(service.predictor.asked)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(ripen_v1_pb2.ClassifyRequest(images=[ripen_v1_pb2.Image()] * 257), timeout=10)
    assert caught.value.details() == "The request has 257 images; expected 1 to 256."
    assert len(service.predictor.asked) == asked


def test_only_so_many_watch(service: RunningService, channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(MAX_WATCHES)]
    for watch in watches:
        next(watch)
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=30))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for watch in watches:
        watch.cancel()
    deadline = time.monotonic() + 20
    while True:
        try:
            next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=30))
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline, "their places were never free again"


def test_health_follows_readiness(service: RunningService, channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", "ripen.v1.Classifier", "tensorflow.serving.PredictionService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status == serving
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert next(watch).status == serving
    service.missing = "loading"
    assert next(watch).status == not_serving
    service.missing = None
    assert next(watch).status == serving
    watch.cancel()


def test_stopping_answers_what_is_under_way_and_refuses_the_rest(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        running(tmp_path_factory.mktemp("stopping")) as (service, client),
        grpc.insecure_channel(service.grpc_address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        next(health)
        service.hold()
        method = channel.unary_unary(
            PREDICT,
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )
        under_way = method.future(predict_request(picture(204)), timeout=20)
        assert service.predictor.waiting.wait(10)
        stopping = threading.Thread(target=service.call, args=(service.servers.stop,))
        stopping.start()
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert client.get("/readyz").status_code == 503
        assert client.post("/api/v1/predict", content=picture()).json()["error"]["code"] == "draining"
        assert refused(channel, PREDICT, predict_request(picture()), predict_pb2.PredictResponse)[0] == "UNAVAILABLE"
        service.release()
        assert under_way.result().outputs["probability"].float_val[0] == pytest.approx(0.8)
        stopping.join(10)
        assert not stopping.is_alive()
