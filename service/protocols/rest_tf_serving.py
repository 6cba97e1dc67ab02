"""TensorFlow Serving's REST: status, metadata and predict under /v1/models. LINE A step 1.

One handler takes apart every path below /v1, because TensorFlow Serving matches without regard to case and answers
anything else with 400. Source: tensorflow_serving/model_servers/http_rest_api_handler.cc.
"""

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import unquote

from fastapi import APIRouter
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # protobuf ships no types
from starlette.requests import Request
from starlette.responses import Response

from contract.errors import InvalidRequest, RipenError, UnknownModel
from service.predictor import PredictRequest
from service.protocols.core import Core
from service.protocols.rest_answers import json_response
from service.protocols.rest_errors import CLIENT_GONE
from service.protocols.rest_parameters import CoreDependency
from service.protocols.rest_predict import while_connected
from service.protocols.signatures import all_predictions, in_tf_serving_words, no_versions, signature_definitions
from service.protocols.tf_serving_json import read_predict, write_predict

MODEL_PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(/versions/(?P<version>[0-9]{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(/(?P<metadata>metadata)|:(?P<verb>predict|classify|regress))?",
    re.IGNORECASE,
)
B64 = {"b64": "/9j/4AAQSkZJRg..."}
BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object"},
            "examples": {
                "rows": {"value": {"instances": [{"image_bytes": B64}]}},
                "columns": {"value": {"inputs": {"image_bytes": [B64]}}},
            },
        }
    },
}
router = APIRouter(tags=["TensorFlow Serving"])


@dataclass(frozen=True)
class Target:
    """What a path names. `version` None is the live one."""

    model: str
    version: int | None
    what: str  # status, metadata or predict


async def handle(request: Request, core: CoreDependency) -> Response:
    """As TensorFlow Serving answers; errors are `{"error": message}`."""
    target = _target(request)
    request.state.model, request.state.method = target.model, f"tf_serving_{target.what}"
    if target.what == "status":
        return _status(core, target)
    try:
        return _metadata(core, target) if target.what == "metadata" else await _predict(request, core, target)
    except RipenError as error:
        raise in_tf_serving_words(error, target.model, target.version) from error


def _target(request: Request) -> Target:
    path, method = request.url.path, request.method
    malformed = InvalidRequest(f"Malformed request: {method} {path[:200]}")
    if path.lower().rstrip("/") == "/v1/models" and method == "GET":
        raise InvalidRequest("Missing model name in request.")
    match = MODEL_PATH.fullmatch(path)
    if match is None or method != ("POST" if match["verb"] else "GET"):
        raise malformed
    if match["label"]:
        raise InvalidRequest(f"Unrecognized servable version label: {match['label']}")
    what = "metadata" if match["metadata"] else (match["verb"] or "status").lower()
    if what in ("classify", "regress"):
        raise InvalidRequest(f"{what} needs a signature of its method name; this model has predict signatures only.")
    return Target(unquote(match["model"]), int(match["version"]) if match["version"] else None, what)


async def _predict(request: Request, core: Core, target: Target) -> Response:
    core.versions.manifest(target.model, target.version)  # an unknown model is said before anything of the body
    raw = await request.body()
    gzipped = request.headers.get("content-encoding", "").lower() == "gzip"
    async with core.json_readers:
        body = await asyncio.to_thread(read_predict, raw, gzipped=gzipped)
    asked = PredictRequest(target.model, body.images, target.version, request_id=request.state.request_id)
    answer = await while_connected(request, core.predictor.predict(asked))
    if answer is None:
        return Response(status_code=CLIENT_GONE)
    request.state.version = answer.version
    encoded = write_predict(all_predictions(answer), row=body.row)
    return Response(encoded, media_type="application/json")


def _metadata(core: Core, target: Target) -> Response:
    manifest = core.versions.manifest(target.model, target.version)
    definitions = MessageToDict(
        signature_definitions(manifest), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    spec = {"name": target.model, "signature_name": "", "version": str(manifest.version)}
    return json_response({"model_spec": spec, "metadata": {"signature_def": definitions}})


def _status(core: Core, target: Target) -> Response:
    try:
        found = [one for one in core.versions.status(target.model) if target.version in (None, one.number)]
    except UnknownModel:
        found = []
    if not found:
        raise no_versions(target.model, target.version)
    told = [
        {
            "version": str(one.number),
            "state": one.state.value,
            "status": {"error_code": one.error_code, "error_message": one.message},
        }
        for one in found
    ]
    return json_response({"model_version_status": told})


def _document(path: str, method: str, summary: str) -> None:
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": "default"}
    number = {"name": "version", "in": "path", "required": True, "schema": {"type": "integer"}, "example": 3}
    extra = {"parameters": [name, *([number] if "{version}" in path else [])]}
    body = {"requestBody": BODY} if method == "POST" else {}
    router.add_api_route(path, handle, methods=[method], summary=summary, openapi_extra={**extra, **body})


for _prefix in ("/v1/models/{model}", "/v1/models/{model}/versions/{version}"):
    _document(_prefix, "GET", "Status")
    _document(f"{_prefix}/metadata", "GET", "Signatures")
    _document(f"{_prefix}:predict", "POST", "Predict")
for _path in ("/v1", "/v1/{rest:path}", "/V1/{rest:path}"):
    router.add_api_route(
        _path, handle, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], include_in_schema=False
    )
