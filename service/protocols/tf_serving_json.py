"""TensorFlow Serving's JSON bodies: row form `instances`, column form `inputs`, `{"b64": ...}`. LINE A step 1.

Source: tensorflow_serving/util/json_tensor.cc. As there, NaN is a number and whatever follows the first JSON document
is ignored. The two signatures have one input each, so a row is a bare value or an object with that one key. 16 MB of
numbers take about 2 s to read: callers do it in a thread.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from contract.errors import InvalidRequest, UnknownSignature
from contract.images import Pixels
from contract.records import Prediction
from service.protocols.signatures import DEFAULT_SIGNATURE, SIGNATURES, Signature, check_inputs

JsonValue = object
MAX_BODY_BYTES = 16 * 2**20
MAX_LISTS = 500_000  # nine images of 224 x 224; the C scanner makes 5 million while it holds the interpreter for 1.2 s
MAX_MARKS = 10_000  # of objects, and quotes: 256 images need 1536
GZIP = 31  # zlib's window size for a gzip header


@dataclass(frozen=True)
class PredictBody:
    """A decoded `:predict` body; `row` says which form the answer has, too."""

    images: Sequence[bytes] | Pixels
    row: bool


def read_predict(body: bytes, *, gzipped: bool = False) -> PredictBody:
    """Decode a `:predict` body.

    Raises:
        InvalidRequest: larger than 16 MB, not gzip or JSON, not one of the two forms, values of another shape or type.
        UnknownSignature: `signature_name` is not one of the two.
    """
    document = _parse(_bounded(body, gzipped=gzipped))
    signature = _signature(document.get("signature_name", DEFAULT_SIGNATURE))
    if ("instances" in document) == ("inputs" in document):
        both = "Request has both 'inputs' and 'instances' keys" if "inputs" in document else ""
        raise InvalidRequest(both or "Missing 'inputs' or 'instances' key")
    if "instances" in document:
        return PredictBody(_tensor(signature, _rows(signature, document["instances"])), row=True)
    return PredictBody(_tensor(signature, _column(signature, document["inputs"])), row=False)


def write_predict(predictions: Sequence[Prediction], *, row: bool) -> bytes:
    """Encode the answer in the request's form; floats are printed as the shortest text of their float32."""
    probabilities = [float(str(np.float32(one.probability))) for one in predictions]
    labels = [one.label for one in predictions]
    answer: JsonValue
    if row:
        pairs = zip(probabilities, labels, strict=True)
        answer = {"predictions": [{"probability": [number], "label": [label]} for number, label in pairs]}
    else:
        answer = {"outputs": {"probability": [[one] for one in probabilities], "label": [[one] for one in labels]}}
    return json.dumps(answer, indent=1).encode()


def _bounded(body: bytes, *, gzipped: bool) -> bytes:
    """The JSON text, of at most MAX_BODY_BYTES."""
    ended = True
    if gzipped:
        unpacker = zlib.decompressobj(GZIP)
        try:
            body = unpacker.decompress(body, MAX_BODY_BYTES + 1)
        except zlib.error as error:
            raise InvalidRequest("The body is not gzip, as its Content-Encoding says.") from error
        ended = unpacker.eof
    if len(body) > MAX_BODY_BYTES:
        raise InvalidRequest(f"The JSON is larger than {MAX_BODY_BYTES} bytes; send fewer images at once, or use gRPC.")
    if not ended:
        raise InvalidRequest("The gzip body ends too early; send all of it.")
    for mark, most in ((b"[", MAX_LISTS), (b"{", MAX_MARKS), (b'"', MAX_MARKS)):
        if body.count(mark) > most:
            raise InvalidRequest(
                f"The JSON has more than {most} of `{mark.decode()}`; send fewer images at once, or use gRPC."
            )
    return body


def _parse(body: bytes) -> Mapping[str, JsonValue]:
    try:
        text = body.decode().lstrip(" \t\r\n")
        document, _ = json.JSONDecoder(parse_int=_whole, parse_float=_real).raw_decode(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, thousands of brackets
        raise InvalidRequest("JSON Parse error: Invalid value. at offset: 0") from error
    if not isinstance(document, dict):
        raise InvalidRequest(f"Request must be a JSON object; got a {type(document).__name__}.")
    return document


def _whole(text: str) -> int:
    """As `int`, but in Python: the C scanner alone would hold the interpreter's lock for the whole body."""
    return int(text)


def _real(text: str) -> float:
    """As `float`; in Python for the same reason."""
    return float(text)


def _signature(name: JsonValue) -> Signature:
    if not isinstance(name, str):
        raise InvalidRequest("'signature_name' key must be a string value.")
    signature = SIGNATURES.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        shown = name.encode("ascii", "backslashreplace").decode()
        raise UnknownSignature(f'Serving signature name: "{shown}" not found in signature def')
    return signature


def _rows(signature: Signature, instances: JsonValue) -> JsonValue:
    if not isinstance(instances, list) or not instances:
        raise InvalidRequest("'instances' must be a list of at least one value or object.")
    objects = [_is_named(one) for one in instances]
    if not any(objects):
        return instances
    if not all(objects):
        raise InvalidRequest("'instances' mixes plain values and objects; expected one or the other.")
    for instance in instances:
        check_inputs(signature, _safe(instance))
    return [instance[signature.input_name] for instance in instances]


def _column(signature: Signature, inputs: JsonValue) -> JsonValue:
    if not isinstance(inputs, dict) or not _is_named(inputs):
        return inputs
    check_inputs(signature, _safe(inputs))
    return inputs[signature.input_name]


def _is_named(value: JsonValue) -> bool:
    """Whether an object names inputs; one with the only key `b64` is a value."""
    return isinstance(value, dict) and value.keys() != {"b64"}


def _tensor(signature: Signature, values: JsonValue) -> list[bytes] | Pixels:
    if signature.encoded:
        return _strings(signature.input_name, values)
    return _pixels(signature.input_name, values)


def _strings(name: str, values: JsonValue) -> list[bytes]:
    if not isinstance(values, list):
        raise InvalidRequest(f"Input {name!r} is one value; expected a list of strings or of {{'b64': ...}} objects.")
    return [_bytes(name, index, value) for index, value in enumerate(values)]


def _bytes(name: str, index: int, value: JsonValue) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and isinstance(value.get("b64"), str):
            return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"Input {name!r} at {index} is not valid base64 or text.") from error
    raise InvalidRequest(
        f"Input {name!r} at {index} is a JSON {type(value).__name__}; expected a string or {{'b64': ...}}."
    )


def _pixels(name: str, values: JsonValue) -> Pixels:
    """Level by level, not by numpy, which would make room for the longest string or number in every element."""
    wanted = "a list of images, each height x width x 3 whole numbers 0-255"
    shape: list[int] = []
    level: list[Any] = [values]
    for _ in range(4):
        if not _only(list, level):
            raise InvalidRequest(f"Input {name!r} has shape {shape}; expected {wanted}.")
        lengths = set(map(len, level))
        if len(lengths) != 1:
            raise InvalidRequest(f"Input {name!r} has rows of different lengths; expected {wanted}.")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    if not _only(int, level):
        raise InvalidRequest(f"Input {name!r} of shape {shape} holds other values; expected {wanted}.")
    try:
        content = bytes(level)
    except ValueError as error:
        raise InvalidRequest(f"Input {name!r} holds values outside 0-255; expected {wanted}.") from error
    return np.frombuffer(content, np.uint8).reshape(shape)  # (N, H, W, 3) uint8


def _only(kind: type, values: list[Any]) -> bool:
    """Whether there are values, all of exactly this type: True is no int here."""
    return set(map(type, values)) == {kind}


def _safe(names: Mapping[str, JsonValue]) -> list[str]:
    """Names for a message: lone surrogates, which JSON allows and UTF-8 does not, are spelled out."""
    return [name.encode("utf-8", "backslashreplace").decode() for name in names]
