"""Our REST, models and labelled images: /api/v1/models and /api/v1/examples. LINE B step 1."""

from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Path, Query, UploadFile
from starlette.responses import Response

from contract.errors import DatabaseUnavailable, RipenError, StorageFull, StorageUnavailable
from contract.records import Bucket, Example
from service.protocols.rest_answers import (
    AddExamplesAnswer,
    CreateModelBody,
    ErrorText,
    ExamplesAnswer,
    ModelAnswer,
    ModelsAnswer,
    Refused,
    StoredExample,
    json_response,
)
from service.protocols.rest_parameters import CoreDependency, ModelName, documented
from service.status_map import client_message

MODEL = {"name": "default", "classes": ["apple", "orange"], "live_version": 3, "created_at": "2026-11-23T19:00:00Z"}
STORED = {
    "id": "18a9d0c1f0b2c3d4aabbccdd",
    "file": "IMG_0001.jpg",
    "label": "apple",
    "bucket": "train",
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "duplicate": False,
}
REFUSED = {"file": "notes.txt", "error": {"code": "invalid_image", "message": "Not a JPEG, PNG or WebP image: ..."}}
OUR_FAULT = (DatabaseUnavailable, StorageUnavailable, StorageFull)  # not the file's: the whole request fails
router = APIRouter()


@router.post(
    "/models",
    summary="Create a model or declare its classes",
    tags=["models"],
    response_model=ModelAnswer,
    responses=documented(409, 503, example=MODEL),
)
def create_model(core: CoreDependency, body: CreateModelBody) -> Response:
    """The same again changes nothing; other classes than the declared ones are a conflict."""
    return json_response(ModelAnswer.of(core.learning.create_model(body.name, body.classes)))


@router.get(
    "/models",
    summary="All models",
    tags=["models"],
    response_model=ModelsAnswer,
    responses=documented(503, example={"models": [MODEL]}),
)
def list_models(core: CoreDependency) -> Response:
    """Every question that this installation answers."""
    return json_response(ModelsAnswer(tuple(ModelAnswer.of(model) for model in core.learning.models())))


@router.get(
    "/models/{name}",
    summary="One model",
    tags=["models"],
    response_model=ModelAnswer,
    responses=documented(404, 503, example=MODEL),
)
def get_model(core: CoreDependency, name: Annotated[str, Path(examples=["default"])]) -> Response:
    """Its classes and its declared version."""
    return json_response(ModelAnswer.of(core.learning.model(name)))


@router.post(
    "/examples",
    summary="Add labelled images",
    tags=["examples"],
    status_code=201,
    response_model=AddExamplesAnswer,
    responses=documented(
        404, 409, 413, 422, 503, 507, example={"examples": [STORED], "rejected": [REFUSED]}, status=201
    ),
)
def add_examples(
    core: CoreDependency,
    model: ModelName,
    label: Annotated[str, Form(description="One of the model's two classes.", examples=["apple"])],
    file: Annotated[list[UploadFile], File(description="One or several JPEG, PNG or WebP images.")],
    bucket: Annotated[
        Literal["holdout"] | None,
        Form(description="Left out, the image's digest decides; `holdout` keeps it for judging."),
    ] = None,
) -> Response:
    """All files get the same label. A file that cannot be used is listed under `rejected`; the others are stored.

    The same bytes twice are one example (`duplicate`). If no file can be stored, the request fails with the first
    one's error.
    """
    target = core.learning.check_label(model, label)
    chosen = Bucket.HOLDOUT if bucket else None
    stored: list[StoredExample] = []
    rejected: list[tuple[str, RipenError]] = []
    for upload in file:
        name = upload.filename or ""
        try:
            example, new = core.learning.add_example(
                target, label=label, data=upload.file.read(), file=name, bucket=chosen
            )
        except OUR_FAULT:
            raise
        except RipenError as error:
            rejected.append((name, error))
        else:
            stored.append(_stored(example, name, duplicate=not new))
    if not stored:
        raise rejected[0][1]
    refused = tuple(Refused(name, ErrorText(error.code, client_message(error))) for name, error in rejected)
    return json_response(AddExamplesAnswer(tuple(stored), refused), 201)


@router.get(
    "/examples",
    summary="Labelled images",
    tags=["examples"],
    response_model=ExamplesAnswer,
    responses=documented(404, 503),
)
def list_examples(
    core: CoreDependency,
    model: ModelName,
    label: Annotated[str | None, Query(examples=["apple"])] = None,
    bucket: Bucket | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(description="`next` of the page before.", max_length=64)] = None,
) -> Response:
    """One page, oldest first, and the counts of all."""
    page, counts = core.learning.examples(model, label=label, bucket=bucket, limit=limit, after=after)
    following = page[-1].id if len(page) == limit else None
    return json_response(ExamplesAnswer(tuple(page), tuple(counts), following))


@router.delete(
    "/examples/{example_id}",
    summary="Remove a labelled image",
    tags=["examples"],
    response_model=Example,
    responses=documented(404, 503),
)
def delete_example(core: CoreDependency, model: ModelName, example_id: str) -> Response:
    """The next retrain does without it; versions that learnt from it stay as they are.

    Nothing is remembered of it: the same bytes added again get the bucket of their digest again, unless
    `bucket=holdout` is asked for.
    """
    return json_response(core.learning.delete_example(model, example_id))


def _stored(example: Example, name: str, *, duplicate: bool) -> StoredExample:
    return StoredExample(example.id, name, example.label, example.bucket, example.digest, duplicate)
