"""What many REST routes share: the core, the model's name, the documented errors. LINE A step 1."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query
from starlette.requests import Request

from contract.keys import LOCAL_ACTOR, Contributor
from contract.records import DEFAULT_MODEL, check_model_name
from service.protocols.core import Core
from service.protocols.rest_answers import ErrorAnswer

Responses = dict[int | str, dict[str, Any]]  # FastAPI's own type for `responses`
IDENTIFIER_PATTERN = r"^[\x21-\x7e]{1,64}$"  # not every database takes every character
DESCRIPTIONS = {
    400: "A malformed request.",
    404: "Something that was named does not exist.",
    409: "The request is fine, the state of things is not.",
    413: "More bytes or pixels than the limit.",
    415: "The body is of another type.",
    422: "An image, a label or a data set that cannot be used.",
    429: "The queue is full; come back after `Retry-After` seconds.",
    503: "The same request may work later.",
    504: "The request's time ran out.",
    507: "No space left to store anything.",
}


async def get_core(request: Request) -> Core:
    """The core that the application was built with. Asynchronous, or FastAPI would pay a thread for it."""
    core: Core = request.app.state.core
    return core


async def get_model_name(
    request: Request,
    model: Annotated[str, Query(description="Which question; every model has its own classes.")] = DEFAULT_MODEL,
) -> str:
    """The `model` query parameter, checked; remembered for the metrics."""
    request.state.model = model
    return check_model_name(model)


async def get_actor(request: Request) -> str:
    """Who asks, for the audit log; whoever checked the key has noted it."""
    return str(getattr(request.state, "actor", LOCAL_ACTOR))


async def get_contributor(request: Request) -> Contributor:
    """As whom the caller supplies labelled images."""
    return (await get_core(request)).callers.contributor(await get_actor(request))


CoreDependency = Annotated[Core, Depends(get_core)]
Actor = Annotated[str, Depends(get_actor)]
Supplier = Annotated[Contributor, Depends(get_contributor)]
ModelName = Annotated[str, Depends(get_model_name)]
Identifier = Annotated[str, Path(pattern=IDENTIFIER_PATTERN)]


def documented(*statuses: int, example: object = None, status: int = 200) -> Responses:
    """The `responses` of a route: its errors, and an example of its answer."""
    responses: Responses = {
        number: {"model": ErrorAnswer, "description": DESCRIPTIONS[number]} for number in (400, *statuses)
    }
    responses["default"] = {"model": ErrorAnswer, "description": "Any other error."}  # else FastAPI documents its own
    if example is not None:
        responses[status] = {"content": {"application/json": {"example": example}}}
    return responses
