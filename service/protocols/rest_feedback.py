"""Our REST, feedback: what recent predictions really showed, and which to look at next. LINE B step 1."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from service.feedback import Said
from service.predictor import MAX_IMAGES
from service.protocols.rest_answers import (
    REQUEST_ID_PATTERN,
    FeedbackBody,
    ReviewAnswer,
    ReviewEntry,
    StoredExample,
    json_response,
)
from service.protocols.rest_bodies import StrictRoute
from service.protocols.rest_examples import STORED
from service.protocols.rest_parameters import CoreDependency, ModelName, Supplier, documented

PROPOSALS, MOST_PROPOSALS = 20, 100
PRIVATE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}  # a user's picture, never anything else
router = APIRouter(tags=["feedback"], route_class=StrictRoute)


@router.post(
    "/feedback",
    summary="Say what a predicted image shows",
    status_code=201,
    response_model=StoredExample,
    responses=documented(404, 409, 422, 503, 507, example=STORED, status=201),
)
def give_feedback(core: CoreDependency, model: ModelName, supplier: Supplier, body: FeedbackBody) -> Response:
    """The image of a recent prediction becomes a labelled image, under the same checks as an upload.

    `label`, or `correct`: whether the predicted label was right. 404 `unknown_request` where the image is not kept
    (any more), 409 `images_not_kept` where none are.
    """
    said = Said(body.request_id, body.index, body.label, body.correct)
    example, new = core.feedback.give(model, said, supplier)
    return json_response(StoredExample.of(example, example.file, duplicate=not new), 201)


@router.get(
    "/review",
    summary="Which predictions to look at next",
    response_model=ReviewAnswer,
    responses=documented(404, 409, 503),
)
def review(
    core: CoreDependency,
    model: ModelName,
    limit: Annotated[int, Query(ge=1, le=MOST_PROPOSALS)] = PROPOSALS,
) -> Response:
    """Images of recent predictions without a label, most useful first: `typical` ones while a class has fewer than 50
    labels, then `uncertain` ones that differ; every seventh is `random`, so that figures can be honest."""
    proposals = core.feedback.review(model, limit)
    return json_response(ReviewAnswer(tuple(ReviewEntry.of(one) for one in proposals)))


@router.get(
    "/review/{request_id}/{index}/image",
    summary="The image of a recent prediction",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}, "image/png": {}, "image/webp": {}}},
        **documented(404, 409, 503),
    },
)
def review_image(
    core: CoreDependency,
    model: ModelName,
    request_id: Annotated[str, Path(pattern=REQUEST_ID_PATTERN)],
    index: Annotated[int, Path(ge=0, lt=MAX_IMAGES)],
) -> Response:
    """Without its metadata, as it would be stored."""
    header, data = core.feedback.image(model, request_id, index)
    return Response(data, media_type=f"image/{header.format.lower()}", headers=PRIVATE)
