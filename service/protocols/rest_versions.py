"""Our REST, versions: list, promote, roll back, pin, delete. LINE B step 4, LINE A step 3.

The database says what was published and declared, `Versions` what the service made of it.
"""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from contract.artifact import Manifest
from contract.errors import UnknownModel
from contract.records import LiveChange, Version, VersionState
from service.protocols.core import Core
from service.protocols.rest_answers import (
    PromoteBody,
    RollbackBody,
    ServiceStatus,
    VersionAnswer,
    VersionsAnswer,
    json_response,
)
from service.protocols.rest_bodies import StrictRoute
from service.protocols.rest_parameters import Actor, CoreDependency, ModelName, documented
from service.versions import VersionStatus

NOT_LOADED = ServiceStatus("OK", "")
CHANGE = {
    "model": "default",
    "version": 2,
    "replaced": 3,
    "kind": "rollback",
    "reason": "",
    "created_at": "2026-11-23T19:00:00Z",
}
Number = Annotated[int, Path(ge=1, le=2**31, examples=[3])]
router = APIRouter(tags=["versions"], route_class=StrictRoute)


@router.get(
    "/versions", summary="Versions, newest first", response_model=VersionsAnswer, responses=documented(404, 503)
)
async def list_versions(core: CoreDependency, model: ModelName) -> Response:
    """What was published, what the gate said, what the service made of it, and which version answers."""
    return json_response(await describe_versions(core, model))


@router.get(
    "/versions/{number}",
    summary="One version with its manifest",
    response_model=VersionAnswer,
    responses=documented(404, 503),
)
async def get_version(core: CoreDependency, model: ModelName, number: Number) -> Response:
    """All that is known of it: recipe, network, history of epochs, seeds, digests, package versions."""
    return json_response(await describe_version(core, model, number))


@router.get(
    "/versions/{number}/curves.png",
    summary="The training, drawn",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **documented(404, 503)},
)
async def get_curves(core: CoreDependency, model: ModelName, number: Number) -> Response:
    """Loss and accuracy per epoch, and the confusion on the hold-out."""
    return Response(await asyncio.to_thread(core.learning.curves, model, number), media_type="image/png")


@router.post(
    "/versions/{number}:promote",
    summary="Put a version live by hand",
    response_model=LiveChange,
    responses=documented(404, 503, example={**CHANGE, "version": 3, "replaced": 2, "kind": "manual"}),
)
async def promote(core: CoreDependency, model: ModelName, number: Number, actor: Actor, body: PromoteBody) -> Response:
    """Whatever the gate said; the reason is kept. The present version answers until this one is loaded and checked."""
    change = await asyncio.to_thread(core.learning.promote, model, number, reason=body.reason, actor=actor)
    return json_response(change)


@router.post(
    "/versions:rollback",
    summary="Go back to the version before",
    response_model=LiveChange,
    responses=documented(404, 409, 503, example=CHANGE),
)
async def rollback(core: CoreDependency, model: ModelName, actor: Actor, body: RollbackBody | None = None) -> Response:
    """The version that the present one replaced goes live again; its engine is still warm, so within 2 seconds."""
    reason = body.reason if body else ""
    return json_response(await asyncio.to_thread(core.learning.rollback, model, reason=reason, actor=actor))


@router.post(
    "/versions/{number}:pin",
    summary="Keep a version's files",
    response_model=VersionAnswer,
    responses=documented(404, 409, 503),
)
async def pin(core: CoreDependency, model: ModelName, number: Number, actor: Actor) -> Response:
    """Retention never removes the files of a pinned version."""
    return await _pin(core, model, number, pinned=True, actor=actor)


@router.post(
    "/versions/{number}:unpin",
    summary="Keep a version's files no longer",
    response_model=VersionAnswer,
    responses=documented(404, 409, 503),
)
async def unpin(core: CoreDependency, model: ModelName, number: Number, actor: Actor) -> Response:
    """Retention may remove them from now on, unless it is among the newest or needed."""
    return await _pin(core, model, number, pinned=False, actor=actor)


@router.delete(
    "/versions/{number}",
    summary="Remove a version's files",
    response_model=VersionAnswer,
    responses=documented(404, 409, 503),
)
async def delete_version(core: CoreDependency, model: ModelName, number: Number, actor: Actor) -> Response:
    """Its record stays. A version that is live, pinned, or what a rollback would bring back is a conflict."""
    row = await asyncio.to_thread(core.learning.delete_version, model, number, actor=actor)
    return json_response(describe_row(core, row))


async def _pin(core: Core, model: str, number: int, *, pinned: bool, actor: str) -> Response:
    row = await asyncio.to_thread(core.learning.pin_version, model, number, pinned=pinned, actor=actor)
    return json_response(describe_row(core, row))


async def describe_versions(core: Core, model: str) -> VersionsAnswer:
    """All versions of a model: rows of the database beside what the service made of them."""
    rows = await asyncio.to_thread(core.learning.versions, model)
    live, statuses = _service_view(core, model)
    versions = tuple(_version(row, live, statuses.get(row.number)) for row in rows.versions)
    return VersionsAnswer(live, rows.aspired, versions, rows.history)


async def describe_version(core: Core, model: str, number: int) -> VersionAnswer:
    """One version with its manifest."""
    row, manifest = await asyncio.to_thread(core.learning.version, model, number)
    return describe_row(core, row, manifest)


def describe_row(core: Core, row: Version, manifest: Manifest | None = None) -> VersionAnswer:
    """A version's row beside what the service made of it."""
    live, statuses = _service_view(core, row.model)
    return _version(row, live, statuses.get(row.number), manifest)


def _service_view(core: Core, model: str) -> tuple[int | None, dict[int, VersionStatus]]:
    try:
        return core.versions.live(model), {one.number: one for one in core.versions.status(model)}
    except UnknownModel:  # created a moment ago; the watcher has not looked yet
        return None, {}


def _status(status: VersionStatus) -> ServiceStatus:
    return ServiceStatus(status.error_code, status.message, status.runtime, status.notes)


def _version(
    row: Version, live: int | None, status: VersionStatus | None, manifest: Manifest | None = None
) -> VersionAnswer:
    return VersionAnswer(
        version=row.number,
        state=status.state if status else VersionState.END,
        live=row.number == live,
        status=_status(status) if status else NOT_LOADED,
        metrics=row.metrics,
        verdict=row.verdict,
        parent=row.parent,
        job_id=row.job_id,
        created_at=row.created_at,
        training_seconds=row.training_seconds,
        pinned=row.pinned,
        pruned_at=row.pruned_at,
        manifest=manifest,
    )
