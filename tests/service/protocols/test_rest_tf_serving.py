"""TensorFlow Serving's REST over a real socket."""

import base64
import gzip
import json
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from running_service import SIDE, RunningService, picture, running

from contract.errors import InvalidRequest, Overloaded
from service.protocols.core import JSON_READERS
from service.protocols.tf_serving_json import MAX_BODY_BYTES, read_predict

Service = tuple[RunningService, httpx.Client]
PREDICT = "/v1/models/default:predict"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service")) as both:
        yield both


def b64(value: int) -> dict[str, str]:
    return {"b64": base64.b64encode(picture(value)).decode()}


def pixels(*values: int) -> list[object]:
    array = np.zeros((len(values), SIDE, SIDE, 3), np.uint8) + np.array(values, np.uint8)[:, None, None, None]
    return list(array.tolist())


ROWS = {"predictions": [{"probability": [0.0], "label": ["apple"]}, {"probability": [0.8], "label": ["orange"]}]}
COLUMNS = {"outputs": {"probability": [[0.0], [0.8]], "label": [["apple"], ["orange"]]}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"instances": [b64(0), b64(204)]}, ROWS),
        ({"instances": [{"image_bytes": b64(0)}, {"image_bytes": b64(204)}]}, ROWS),
        ({"signature_name": "serving_default", "instances": [b64(0), b64(204)]}, ROWS),
        ({"inputs": [b64(0), b64(204)]}, COLUMNS),
        ({"inputs": {"image_bytes": [b64(0), b64(204)]}}, COLUMNS),
        ({"signature_name": "pixels", "instances": pixels(0, 204)}, ROWS),
        ({"signature_name": "pixels", "instances": [{"image": one} for one in pixels(0, 204)]}, ROWS),
        ({"signature_name": "pixels", "inputs": {"image": pixels(0, 204)}}, COLUMNS),
        ({"signature_name": "pixels", "inputs": pixels(0, 204)}, COLUMNS),
    ],
)
def test_both_forms_of_both_signatures(service: Service, body: object, expected: object) -> None:
    answer = service[1].post(PREDICT, json=body)
    assert (answer.status_code, answer.json()) == (200, expected)


def test_whatever_follows_the_document_is_ignored_and_paths_have_no_case(service: Service) -> None:
    answer = service[1].post("/V1/Models/default/Versions/1:Predict", content=b' {"inputs": [%s]} more' % _json(b64(0)))
    assert (answer.status_code, answer.json()["outputs"]["label"]) == (200, [["apple"]])
    assert service[0].predictor.asked[-1].version == 1


def _json(value: dict[str, str]) -> bytes:
    return b'{"b64": "%s"}' % value["b64"].encode()


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "JSON Parse error: "),
        (b"", 400, "JSON Parse error: "),
        (b"\xff", 400, "JSON Parse error: "),
        (b"[" * 100_000, 400, "JSON Parse error: "),
        (b"[]", 400, "must be a JSON object"),
        (b'{"instances": ' + b"9" * 10_000 + b"}", 400, "JSON Parse error: "),
        (b"{}", 400, "Missing 'inputs' or 'instances' key"),
        (b'{"inputs": ["x"], "instances": ["x"]}', 400, "both"),
        (b'{"signature_name": "x", "inputs": ["x"]}', 400, 'Serving signature name: "x" not found in signature def'),
        (b'{"signature_name": "\\ud800", "inputs": ["x"]}', 400, "not found in signature def"),
        (b'{"signature_name": 1, "inputs": ["x"]}', 400, "must be a string"),
        (b'{"instances": []}', 400, "at least one"),
        (b'{"instances": "x"}', 400, "at least one"),
        (b'{"instances": ["x", {"image_bytes": "x"}]}', 400, "mixes"),
        (b'{"instances": [{"a": "x"}]}', 400, "Sent extra: {a}. Missing but required: {image_bytes}."),
        (b'{"inputs": {"a": ["x"], "b": ["x"]}}', 400, "2!=1 len({a,b}) != len({image_bytes})"),
        (b'{"inputs": {"\\ud800": ["x"]}}', 400, "input size does not match signature"),
        (b'{"inputs": {"b64": "x"}}', 400, "expected a list"),
        (b'{"inputs": [1]}', 400, "expected a string"),
        (b'{"inputs": [NaN]}', 400, "expected a string"),
        (b'{"inputs": [{"b64": "?"}]}', 400, "not valid base64"),
        (b'{"inputs": ["\\ud800"]}', 400, "not valid base64"),
        (b'{"inputs": []}', 400, "0 images"),
        (b'{"inputs": ["hello"]}', 400, "Image 0 of 1: Not a JPEG, PNG or WebP image"),
        (b'{"signature_name": "pixels", "inputs": [[1, 2], [3]]}', 400, "different lengths"),
        (b'{"signature_name": "pixels", "inputs": [[1, 2]]}', 400, "shape [1, 2]"),
        (b'{"signature_name": "pixels", "inputs": [[[[1, 2, 256]]]]}', 400, "0-255"),
        (b'{"signature_name": "pixels", "inputs": [[[[1, 2, 0.5]]]]}', 400, "of shape [1, 1, 1, 3] holds other values"),
        (b'{"signature_name": "pixels", "inputs": [[[[1, 2, true]]]]}', 400, "holds other values"),
        (b'{"signature_name": "pixels", "inputs": [[[[1, 2, "3"]]]]}', 400, "holds other values"),
        (b'{"signature_name": "pixels", "inputs": [[[[]]]]}', 400, "shape [1, 1, 1, 0]"),
        (b'{"signature_name": "pixels", "inputs": 1}', 400, "shape []"),
        (b'{"signature_name": "pixels", "inputs": [[[["x", 2, 3]]]]}', 400, "expected a list of images"),
        (b'{"signature_name": "pixels", "inputs": [[[[' + b"9" * 40 + b"]]]]}", 400, "expected a list of images"),
    ],
)
def test_bad_bodies_are_refused_in_its_words(service: Service, body: bytes, status: int, text: str) -> None:
    answer = service[1].post(PREDICT, content=body)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    assert text in answer.json()["error"]


def test_text_for_pixels_costs_no_more_than_itself() -> None:
    body = json.dumps({"signature_name": "pixels", "instances": ["a" * 200_000, *["b"] * 500]}).encode()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="shape"):
            read_predict(body)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(body)
    finally:
        tracemalloc.stop()


def test_gzip_is_unpacked(service: Service) -> None:
    body = gzip.compress(json.dumps({"instances": [b64(0), b64(204)]}).encode())
    answer = service[1].post(PREDICT, content=body, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()) == (200, ROWS)


@pytest.mark.parametrize(
    ("body", "encoding", "text"),
    [
        (b" " * (MAX_BODY_BYTES + 1), "identity", "larger than"),
        (gzip.compress(b" " * (MAX_BODY_BYTES + 1)), "gzip", "larger than"),
        (gzip.compress(b'{"inputs": ["x"]}')[:-9], "gzip", "ends too early"),
        (b'{"inputs": ["x"]}', "gzip", "not gzip"),
    ],
    ids=["large", "bomb", "cut", "plain"],
)
def test_bodies_that_are_not_even_read(service: Service, body: bytes, encoding: str, text: str) -> None:
    answer = service[1].post(PREDICT, content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 400
    assert text in answer.json()["error"]


def test_few_bodies_are_read_at_once_and_never_on_the_event_loop(service: Service) -> None:
    running_service, client = service
    readers = running_service.core.json_readers

    async def release() -> None:
        readers.release()

    for _ in range(JSON_READERS):
        running_service.call(readers.acquire)
    asked = len(running_service.predictor.asked)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, PREDICT, json={"inputs": [b64(0)]})
        assert client.get("/healthz").status_code == 200
        assert len(running_service.predictor.asked) == asked
        for _ in range(JSON_READERS):
            running_service.call(release)
        assert waiting.result(20).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
        ("POST", "/v1/models/default/versions/7:predict", 404, "Servable not found for request: Specific(default, 7)"),
        ("POST", "/v1/models/empty:predict", 409, "has no version to answer with"),
        ("POST", "/v1/models/default/labels/x:predict", 400, "Unrecognized servable version label: x"),
        ("POST", "/v1/models/default:classify", 400, "classify"),
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/empty", 404, "Could not find any versions of model empty"),
        ("GET", "/v1/models/default/versions/9", 404, "Could not find version 9 of model default"),
        ("GET", "/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/default:predict", 400, "Malformed request: GET /v1/models/default:predict"),
        ("POST", "/v1/models/default", 400, "Malformed request: POST /v1/models/default"),
        ("GET", "/v1/nothing", 400, "Malformed request: GET /v1/nothing"),
        ("GET", "/v1", 400, "Malformed request: GET /v1"),
        ("DELETE", "/v1/models/default", 400, "Malformed request: DELETE /v1/models/default"),
    ],
)
def test_paths_that_name_nothing(service: Service, method: str, path: str, status: int, text: str) -> None:
    answer = service[1].request(method, path)
    assert (answer.status_code, answer.json().keys()) == (status, {"error"})
    assert text in answer.json()["error"]


def test_a_bad_image_names_its_index(service: Service) -> None:
    answer = service[1].post(PREDICT, json={"instances": [b64(1), "hello"]})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Image 1 of 2: ")


def test_overload_is_429_and_an_unexpected_error_tells_nothing(service: Service) -> None:
    running_service, client = service
    try:
        running_service.predictor.error = Overloaded("The queue is full.")
        full = client.post(PREDICT, json={"instances": [b64(1)]})
        running_service.predictor.error = ValueError("secret")
        broken = client.post(PREDICT, json={"instances": [b64(1)]})
    finally:
        running_service.predictor.error = None
    assert (full.status_code, full.json()) == (429, {"error": "The queue is full."})
    assert full.headers["retry-after"] in ("1", "2", "3", "4", "5")
    assert broken.status_code == 500
    assert "secret" not in broken.text


def test_status(service: Service) -> None:
    told = service[1].get("/v1/models/default").json()["model_version_status"]
    assert [(one["version"], one["state"]) for one in told] == [("3", "END"), ("2", "AVAILABLE"), ("1", "AVAILABLE")]
    assert told[0]["status"] == {"error_code": "INTERNAL", "error_message": "golden/00.jpg differs"}
    one = service[1].get("/v1/models/default/versions/2").json()
    assert one["model_version_status"] == [
        {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]


def test_metadata(service: Service) -> None:
    told = service[1].get("/v1/models/default/metadata").json()
    assert told["model_spec"] == {"name": "default", "signature_name": "", "version": "2"}
    signatures = told["metadata"]["signature_def"]["signature_def"]
    assert signatures.keys() == {"serving_default", "pixels"}
    image = signatures["pixels"]["inputs"]["image"]
    assert image["dtype"] == "DT_UINT8"
    assert [dim["size"] for dim in image["tensor_shape"]["dim"]] == ["-1", str(SIDE), str(SIDE), "3"]
    assert image["tensor_shape"]["unknown_rank"] is False
    assert signatures["serving_default"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"


def test_requests_are_counted(service: Service) -> None:
    series = 'ripen_requests_total{code="200",method="tf_serving_predict",model="default",protocol="tf_serving_rest"'
    before = service[0].metric(series)
    service[1].post(PREDICT, json={"instances": [b64(1)]})
    assert service[0].metric(series) == before + 1
