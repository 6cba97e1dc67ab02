"""Our REST, models: create, list, pin, delete. LINE B step 1, LINE A step 3."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from contract.records import NAME_PATTERN
from service.protocols.rest_answers import (
    CreateModelBody,
    ModelAnswer,
    ModelsAnswer,
    PinModelBody,
    json_response,
)
from service.protocols.rest_bodies import StrictRoute
from service.protocols.rest_parameters import Actor, CoreDependency, documented

MODEL = {
    "name": "default",
    "classes": ["apple", "orange"],
    "live_version": 3,
    "created_at": "2026-11-23T19:00:00Z",
    "pinned": False,
}
Name = Annotated[str, Path(examples=["default"], pattern=rf"^{NAME_PATTERN}$")]
router = APIRouter(tags=["models"], route_class=StrictRoute)


@router.post(
    "/models",
    summary="Create a model or declare its classes",
    response_model=ModelAnswer,
    responses=documented(409, 503, example=MODEL),
)
def create_model(core: CoreDependency, body: CreateModelBody, actor: Actor) -> Response:
    """The same again changes nothing; other classes than the declared ones are a conflict."""
    return json_response(ModelAnswer.of(core.learning.create_model(body.name, body.classes, actor=actor)))


@router.get(
    "/models",
    summary="All models",
    response_model=ModelsAnswer,
    responses=documented(503, example={"models": [MODEL]}),
)
def list_models(core: CoreDependency) -> Response:
    """Every question that this installation answers."""
    return json_response(ModelsAnswer(tuple(ModelAnswer.of(model) for model in core.learning.models())))


@router.get(
    "/models/{name}",
    summary="One model",
    response_model=ModelAnswer,
    responses=documented(404, 503, example=MODEL),
)
def get_model(core: CoreDependency, name: Name) -> Response:
    """Its classes and its declared version."""
    return json_response(ModelAnswer.of(core.learning.model(name)))


@router.patch(
    "/models/{name}",
    summary="Pin a model, or no longer",
    response_model=ModelAnswer,
    responses=documented(404, 503, example={**MODEL, "pinned": True}),
)
def pin_model(core: CoreDependency, name: Name, body: PinModelBody, actor: Actor) -> Response:
    """The engine of a pinned model stays loaded, whatever the memory budget says."""
    return json_response(ModelAnswer.of(core.learning.pin_model(name, pinned=body.pinned, actor=actor)))


@router.delete(
    "/models/{name}",
    summary="Remove a model",
    response_model=ModelAnswer,
    responses=documented(404, 409, 503, example=MODEL),
)
def delete_model(core: CoreDependency, name: Name, actor: Actor) -> Response:
    """With all its images, jobs and versions; what is left of it is a line of the audit log. There is no way back.

    A model with a job that has not ended is a conflict; cancel the job first.
    """
    return json_response(ModelAnswer.of(core.learning.delete_model(name, actor=actor)))
