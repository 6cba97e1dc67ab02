"""Our REST, a job's progress as server-sent events: GET /api/v1/jobs/{id}/events. LINE B step 2.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from contract.errors import DatabaseUnavailable
from contract.records import Job
from service.protocols.core import Core
from service.protocols.rest_parameters import CoreDependency, Identifier, ModelName, documented

LOOK_EVERY_S = 0.3
KEEP_ALIVE_S = 10.0  # a comment, so that proxies and clients see that the stream lives
STREAM = {"content": {"text/event-stream": {"example": 'event: progress\ndata: {"id": "...", "state": "running"}\n\n'}}}
router = APIRouter(tags=["retraining"])


@router.get(
    "/jobs/{job_id}/events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={200: STREAM, **documented(404, 503)},
)
async def watch_job(core: CoreDependency, model: ModelName, job_id: Identifier) -> Response:
    """`event: progress` with the job as JSON at once and at each change; `event: end` when it has ended."""
    job = await asyncio.to_thread(core.learning.job, model, job_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(core, job), media_type="text/event-stream", headers=headers)


async def _events(core: Core, job: Job) -> AsyncIterator[bytes]:
    sent: Job | None = None
    spoke_at = time.monotonic()
    while not job.state.ended:
        if job != sent:
            yield _event("progress", job)
            sent, spoke_at = job, time.monotonic()
        elif time.monotonic() - spoke_at >= KEEP_ALIVE_S:
            yield b": still running\n\n"
            spoke_at = time.monotonic()
        if await core.readiness.stopped_within(LOOK_EVERY_S):
            return
        job = await look(core, job)
    yield _event("end", job)


async def look(core: Core, job: Job) -> Job:
    """The job as it is now, or as it was where the database cannot say."""
    try:
        return await asyncio.to_thread(core.learning.job, job.model, job.id)
    except DatabaseUnavailable:
        return job


def _event(kind: str, job: Job) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(job) + b"\n\n"
