"""How the same images are asked over each protocol, and what an answer says: (version, probability)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np

from benchmarks.peer_servers import RunningPeer, parse
from protos import ripen_v1_pb2
from service.tf_serving_stubs import predict_pb2, tensor_pb2, types_pb2

BOUNDARY = "ripen-benchmark"
Answer = tuple[int, float]  # version (0: the server names none), P(classes[1])


class Asking(Protocol):
    """One protocol. `content_type` is empty for gRPC."""

    name: str
    path: str
    content_type: str

    def encode(self, image: bytes) -> bytes:
        """The body or message of a request."""

    def decode(self, answer: bytes) -> Answer:
        """What an answer says."""


@dataclass(frozen=True)
class _Model:
    version: int


@dataclass(frozen=True)
class _Predicted:
    probability: float


@dataclass(frozen=True)
class _RestAnswer:
    model: _Model
    predictions: tuple[_Predicted, ...]


class RipenRest:
    """A raw body to our REST."""

    name, path, content_type = "REST", "/api/v1/predict", "image/jpeg"

    def encode(self, image: bytes) -> bytes:
        return image

    def decode(self, answer: bytes) -> Answer:
        told = msgspec.json.decode(answer, type=_RestAnswer)
        return told.model.version, told.predictions[0].probability


class RipenGrpc:
    """`ripen.v1` Classify."""

    name, path, content_type = "ripen.v1", "/ripen.v1.Classifier/Classify", ""

    def encode(self, image: bytes) -> bytes:
        return ripen_v1_pb2.ClassifyRequest(images=[ripen_v1_pb2.Image(data=image)]).SerializeToString()

    def decode(self, answer: bytes) -> Answer:
        told = ripen_v1_pb2.ClassifyResponse.FromString(answer)
        return told.model.version, told.predictions[0].probability


class TfServingGrpc:
    """TensorFlow Serving's Predict with `image_bytes`."""

    name, path, content_type = "TF Serving gRPC", "/tensorflow.serving.PredictionService/Predict", ""

    def encode(self, image: bytes) -> bytes:
        tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[image])
        tensor.tensor_shape.dim.add().size = 1
        request = predict_pb2.PredictRequest(inputs={"image_bytes": tensor})
        request.model_spec.name = "default"
        return request.SerializeToString()

    def decode(self, answer: bytes) -> Answer:
        told = predict_pb2.PredictResponse.FromString(answer)
        tensor = told.outputs["probability"]
        content = np.frombuffer(tensor.tensor_content, np.float32)
        return told.model_spec.version.value, float(content[0] if len(content) else tensor.float_val[0])


RIPEN: Sequence[Asking] = (RipenRest(), RipenGrpc(), TfServingGrpc())


class PeerHttp:
    """A peer's own HTTP route."""

    name = "HTTP"

    def __init__(self, running: RunningPeer) -> None:
        self._form = running.form
        self.path = running.peer.path
        self.content_type = f"multipart/form-data; boundary={BOUNDARY}" if self._form else "image/jpeg"

    def encode(self, image: bytes) -> bytes:
        if not self._form:
            return image
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{self._form}"; filename="a.jpg"\r\n'
        return head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + image + f"\r\n--{BOUNDARY}--\r\n".encode()

    def decode(self, answer: bytes) -> Answer:
        return 0, parse(answer)


class PeerGrpc:
    """The Open Inference Protocol over gRPC. Written by hand: the peers' stubs would clash in one descriptor pool."""

    name, path, content_type = "Open Inference gRPC", "/inference.GRPCInferenceService/ModelInfer", ""

    def encode(self, image: bytes) -> bytes:
        contents = _field(8, image)  # bytes_contents
        tensor = _field(1, b"image") + _field(2, b"BYTES") + _field(3, b"\x01\x01") + _field(5, contents)
        return _field(1, b"classifier") + _field(5, tensor)

    def decode(self, answer: bytes) -> Answer:
        fields = _fields(answer)
        raw = (
            fields.get(6) or _fields(_fields(fields[5])[5])[6]
        )  # raw_output_contents, or outputs.contents.fp32_contents
        return 0, float(np.frombuffer(raw, np.float32)[0])


def asking(running: RunningPeer) -> Asking:
    """How a peer is asked."""
    return PeerGrpc() if running.peer.grpc else PeerHttp(running)


def _field(number: int, value: bytes) -> bytes:
    """One length-delimited protobuf field. Source: protobuf.dev, Encoding."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + _varint(value >> 7) if value > 127 else bytes([value])


def _fields(message: bytes) -> dict[int, bytes]:
    """The last length-delimited value of each field; varints are skipped."""
    found: dict[int, bytes] = {}
    place = 0
    while place < len(message):
        tag, place = message[place], place + 1
        value, place = _read_varint(message, place)
        if tag & 7 == 2:
            found[tag >> 3] = message[place : place + value]
            place += value
    return found


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, place = message[place], place + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
