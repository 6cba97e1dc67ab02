"""Our REST, labelled images: /api/v1/examples. LINE B step 1."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Query, UploadFile
from starlette.responses import Response

from contract.errors import DatabaseUnavailable, RipenError, StorageFull, StorageUnavailable
from contract.records import Bucket
from service.protocols.rest_answers import (
    AddExamplesAnswer,
    DeletedExampleAnswer,
    ErrorText,
    ExamplesAnswer,
    Refused,
    StoredExample,
    json_response,
)
from service.protocols.rest_bodies import StrictRoute
from service.protocols.rest_parameters import (
    IDENTIFIER_PATTERN,
    Actor,
    CoreDependency,
    Identifier,
    ModelName,
    Supplier,
    documented,
)
from service.split import Asked, check_group
from service.status_map import client_message

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
router = APIRouter(route_class=StrictRoute)


def read_asked(
    bucket: Annotated[
        Literal["holdout"] | None,
        Form(description="Left out, a hash of the group decides; `holdout` keeps it for judging."),
    ] = None,
    group: Annotated[
        str | None,
        Form(description="Images of one group (a camera, a patient) stay in one bucket.", examples=["camera-3"]),
    ] = None,
) -> Asked:
    """What an upload asks for besides its label."""
    return Asked(Bucket.HOLDOUT if bucket else None, None if group is None else check_group(group))


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
    supplier: Supplier,
    label: Annotated[str, Form(description="One of the model's two classes.", examples=["apple"])],
    file: Annotated[list[UploadFile], File(description="One or several JPEG, PNG or WebP images.")],
    asked: Annotated[Asked, Depends(read_asked)],
) -> Response:
    """All files get the same label. A file that cannot be used is listed under `rejected`; the others are stored.

    The same bytes twice are one example (`duplicate`), which keeps the group and the bucket that it has. If no file
    can be stored, the request fails with the first one's error.
    """
    target = core.learning.check_label(model, label)
    stored: list[StoredExample] = []
    rejected: list[tuple[str, RipenError]] = []
    for upload in file:
        name = upload.filename or ""
        try:
            example, new = core.learning.add_example(
                target, label=label, data=upload.file.read(), file=name, contributor=supplier, asked=asked
            )
        except OUR_FAULT:
            raise
        except RipenError as error:
            rejected.append((name, error))
        else:
            stored.append(StoredExample.of(example, name, duplicate=not new))
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
    label: Annotated[str | None, Query(examples=["apple"], pattern=r"^[^\x00]{1,64}$")] = None,
    bucket: Bucket | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(description="`next` of the page before.", pattern=IDENTIFIER_PATTERN)] = None,
) -> Response:
    """One page, oldest first, and the counts of all."""
    page, counts = core.learning.examples(model, label=label, bucket=bucket, limit=limit, after=after)
    following = page[-1].id if len(page) == limit else None
    return json_response(ExamplesAnswer(tuple(page), tuple(counts), following))


@router.delete(
    "/examples/{example_id}",
    summary="Remove a labelled image",
    tags=["examples"],
    response_model=DeletedExampleAnswer,
    responses=documented(404, 503),
)
def delete_example(core: CoreDependency, model: ModelName, example_id: Identifier, actor: Actor) -> Response:
    """The next retrain does without it; versions that learnt from it stay as they are, and are listed.

    `trained_versions` learnt from it, `judged_versions` were measured on it, `copies_in` hold a copy of it: delete such
    a version to remove that too. Only versions made by an early release can.

    Nothing is remembered of it: the same bytes added again get the bucket of their digest again, unless
    `bucket=holdout` or a `group` is asked for, or other images look the same.
    """
    return json_response(DeletedExampleAnswer.of(core.learning.delete_example(model, example_id, actor=actor)))
