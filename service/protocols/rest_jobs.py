"""Our REST, retraining: /api/v1/retrain and /api/v1/jobs. LINE B step 2."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from contract.records import Job
from service.protocols.rest_answers import GateBody, JobsAnswer, RetrainBody, json_response
from service.protocols.rest_bodies import StrictRoute
from service.protocols.rest_parameters import CoreDependency, Identifier, ModelName, documented

JOB = {
    "id": "0b9c5f1d7c6f4a0b8f6f0a3d6f1b2c3d",
    "model": "default",
    "state": "running",
    "progress": {"step": "train", "fraction": 0.42, "eta_s": 31.5, "epoch": 6, "epochs": 15, "message": "tail"},
    "version": None,
    "verdict": None,
    "failure": None,
    "attempt": 1,
    "created_at": "2026-11-23T19:00:00Z",
}
router = APIRouter(tags=["retraining"], route_class=StrictRoute)


@router.post(
    "/retrain",
    summary="Fine-tune a new version",
    status_code=202,
    response_model=Job,
    responses=documented(404, 409, 422, 503, example=JOB, status=202),
)
def retrain(
    core: CoreDependency,
    model: ModelName,
    body: RetrainBody | None = None,
    idempotency_key: Annotated[
        str | None,
        Header(description="Repeats with the same key are the same job.", pattern=r"^[\x21-\x7e]{1,255}$"),
    ] = None,
) -> Response:
    """Answers at once with the queued job. One job runs at a time per model; watch it with `/jobs/{id}/events`."""
    asked = body or RetrainBody()
    gate = asked.gate or GateBody()
    job = core.learning.start(
        model,
        changes=asked.recipe,
        gate_policy=gate.policy,
        dry_run=gate.dry_run,
        idempotency_key=idempotency_key,
    )
    return json_response(job, 202)


@router.get("/jobs", summary="Jobs, newest first", response_model=JobsAnswer, responses=documented(404, 503))
def list_jobs(core: CoreDependency, model: ModelName, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """All retrainings of a model."""
    return json_response(JobsAnswer(tuple(core.learning.jobs(model, limit=limit))))


@router.get("/jobs/{job_id}", summary="One job", response_model=Job, responses=documented(404, 503, example=JOB))
def get_job(core: CoreDependency, model: ModelName, job_id: Identifier) -> Response:
    """Its state, its progress with the history of epochs, and in the end its version and verdict, or its failure."""
    return json_response(core.learning.job(model, job_id))


@router.post(
    "/jobs/{job_id}:cancel",
    summary="Cancel a job",
    status_code=202,
    response_model=Job,
    responses=documented(404, 409, 503),
)
def cancel_job(core: CoreDependency, model: ModelName, job_id: Identifier) -> Response:
    """A queued job ends at once, a running one within 5 seconds; one that has ended is a conflict."""
    return json_response(core.learning.cancel(model, job_id), 202)
