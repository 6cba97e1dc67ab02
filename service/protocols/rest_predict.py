"""Our REST, predictions: POST /api/v1/predict. LINE A step 1."""

from collections.abc import Coroutine, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Query
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from contract.errors import InvalidRequest, RipenError
from contract.records import Prediction
from service.http_exchange import Exchange
from service.predictor import Answer, PredictRequest
from service.protocols.rest_answers import (
    ErrorText,
    ModelVersion,
    PredictAnswer,
    Predicted,
    Refused,
    json_response,
)
from service.protocols.rest_bodies import FORM, BoundedForm
from service.protocols.rest_errors import CLIENT_GONE
from service.protocols.rest_parameters import CoreDependency, ModelName, documented
from service.status_map import client_message

TIMEOUT, MOST_MS = "X-Request-Timeout-Ms", 3_600_000
T = TypeVar("T")
BINARY = {"schema": {"type": "string", "format": "binary"}}
FILES = {"type": "object", "properties": {"file": {"type": "array", "items": BINARY["schema"]}}}
BODY = {
    "required": True,
    "content": {"image/*": BINARY, "application/octet-stream": BINARY, "multipart/form-data": {"schema": FILES}},
}
EXAMPLE = {
    "request_id": "5f0c8be0c7f94f6fb3a87b6dd3f7d1c2",
    "model": {"name": "default", "version": 3},
    "predictions": [{"label": "orange", "probability": 0.973, "threshold": 0.5, "file": "fruit.jpg"}],
}
router = APIRouter(tags=["predictions"])


class _InMemory(BoundedForm):
    """Keeps files in memory, where the request's size limit bounds them: predictions need no disk and no thread."""

    spool_max_size = 2**31


@router.post(
    "/predict",
    summary="Classify images",
    response_model=PredictAnswer,
    responses=documented(404, 409, 413, 422, 429, 503, 504, example=EXAMPLE),
    openapi_extra={"requestBody": BODY},
)
async def predict(
    request: Request,
    core: CoreDependency,
    model: ModelName,
    version: Annotated[int | None, Query(ge=1, description="A loaded version; the live one if left out.")] = None,
    timeout_ms: Annotated[
        int | None,
        Header(alias=TIMEOUT, ge=1, le=MOST_MS, description="How long the caller will wait.", examples=[2500]),
    ] = None,
) -> Response:
    """One image as the body, or several as the files of a form.

    `probability` is of the model's second class. In a form a file that cannot be used gets an `error` of its own and
    the others are answered; if none can be used, the request fails with the first one's error.
    """
    timeout_s = None if timeout_ms is None else timeout_ms / 1000
    refusal = core.predictor.refuse_early(model, version, timeout_s)
    if refusal is not None:
        raise refusal
    names, images = await _read_images(request)
    asked = PredictRequest(model, images, version, timeout_s, request.state.request_id, names)
    answer = await while_connected(request, core.predictor.predict(asked))
    if answer is None:
        return Response(status_code=CLIENT_GONE)
    request.state.version = answer.version
    return json_response(told(answer, names, request.state.request_id))


def told(answer: Answer, names: Sequence[str | None], request_id: str) -> PredictAnswer:
    """What the client is told; raises the first image's error where none could be used."""
    first = answer.predictions[0]
    if isinstance(first, RipenError) and all(isinstance(one, RipenError) for one in answer.predictions):
        raise first
    each = [_tell(name, one) for name, one in zip(names, answer.predictions, strict=True)]
    return PredictAnswer(request_id, ModelVersion(answer.model, answer.version), tuple(each))


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """Do `work`, but cancel it and return None once the client is gone: nobody needs its answer any more."""
    exchange: Exchange = request.state.exchange
    return await exchange.while_connected(work)


async def _read_images(request: Request) -> tuple[Sequence[str | None], list[bytes]]:
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith(FORM):
        return [None], [await request.body()]
    form = await _InMemory(request).parse()
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files or len(files) < len(form.multi_items()):
            raise InvalidRequest("The form has no file or a text field; expected 1-256 images, each as a file of it.")
        return [file.filename for file in files], [file.file.read() for file in files]
    finally:
        await form.close()


def _tell(name: str | None, one: Prediction | RipenError) -> Predicted | Refused:
    if isinstance(one, RipenError):
        return Refused(name, ErrorText(one.code, client_message(one)))
    return Predicted(one.label, one.probability, one.threshold, name)
