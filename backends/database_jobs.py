"""Jobs in SQL: queue, claim, lease, cancel, end. LINE B steps 2 and 3.

Functions over one open transaction; `database` gives each of its methods one. A worker's claim is one `attempt`: what
a worker writes for an attempt that is not the job's any more raises LeaseLost.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, func, insert, select, update

from backends.database_models import get_model, lock_model
from backends.database_schema import jobs, models, to_record, to_row
from contract.errors import IdempotencyConflict, JobFinished, LeaseLost, UnknownJob
from contract.records import Failure, Job, JobState

OPEN = (JobState.QUEUED, JobState.RUNNING)
CANCEL_LEASE = timedelta(seconds=3)  # a worker sees its job's cancellation in 0.25 s, and gives the child 2 s


def create_job(connection: Connection, job: Job) -> tuple[Job, bool]:
    """Queue the job, or find the earlier one of its idempotency key."""
    lock_model(connection, job.model)
    if job.idempotency_key is not None:
        same_key = (jobs.c.model == job.model) & (jobs.c.idempotency_key == job.idempotency_key)
        row = connection.execute(select(jobs).where(same_key)).mappings().first()
        if row is not None:
            return _same_request(to_record(Job, row), job), False
    connection.execute(insert(jobs).values(to_row(job)))
    return job, True


def get_job(connection: Connection, model: str, job_id: str) -> Job:
    """The job, or UnknownModel, or UnknownJob."""
    statement = select(jobs).where((jobs.c.model == model) & (jobs.c.id == job_id))
    row = connection.execute(statement).mappings().first()
    if row is None:
        get_model(connection, model)
        raise UnknownJob(f"Model {model!r} has no job {job_id!r}; `jobs` lists those it has.")
    return to_record(Job, row)


def list_jobs(connection: Connection, model: str, limit: int) -> list[Job]:
    """Newest first."""
    get_model(connection, model)
    newest_first = (jobs.c.created_at.desc(), jobs.c.id.desc())
    statement = select(jobs).where(jobs.c.model == model).order_by(*newest_first).limit(limit)
    return [to_record(Job, row) for row in connection.execute(statement).mappings()]


def count_jobs(connection: Connection) -> dict[tuple[str, JobState], int]:
    """Jobs per model and state."""
    groups = (jobs.c.model, jobs.c.state)
    rows = connection.execute(select(*groups, func.count()).group_by(*groups))
    return {(model, state): count for model, state, count in rows}


def claim_job(connection: Connection, *, owner: str, now: datetime, lease_s: float, max_attempts: int) -> Job | None:
    """Take the first job that may run; end, on the way, those that may not run again."""
    if connection.execute(select(jobs.c.id).where(jobs.c.state.in_(OPEN)).limit(1)).first() is None:
        return None  # asked several times a second; mostly there is nothing to lock every model for
    end_expired_cancellations(connection, now)
    open_jobs = connection.execute(select(jobs).where(jobs.c.state.in_(OPEN))).all()
    for row in in_turn(open_jobs, now):
        if row.attempt >= max_attempts and row.lease_owner is not None:  # it was not released: its worker was lost
            message = (
                f"The job was started {row.attempt} times without coming to an end; the last time, its worker was lost "
                "or could not reach the storage. Mend that, then start a new one."
            )
            end(connection, row.id, JobState.FAILED, now, failure=Failure("attempts_exhausted", message))
        else:
            return _take(connection, row, owner=owner, now=now, lease_s=lease_s)
    return None


def end_expired_cancellations(connection: Connection, now: datetime) -> None:
    """Cancel what was to be cancelled and whose worker did not do it."""
    connection.execute(select(models.c.name).order_by(models.c.name).with_for_update(key_share=True))
    left = (jobs.c.state == JobState.RUNNING) & jobs.c.cancel_requested & (jobs.c.lease_expires <= now)
    for job_id in connection.execute(select(jobs.c.id).where(left)).scalars().all():
        end(connection, job_id, JobState.CANCELLED, now)


def in_turn(open_jobs: Iterable[Row[tuple[object, ...]]], now: datetime) -> list[Row[tuple[object, ...]]]:
    """The jobs that nobody works on, of models that nobody works on: interrupted ones first, then the oldest."""
    rows = list(open_jobs)
    busy = {row.model for row in rows if row.state is JobState.RUNNING and row.lease_expires > now}
    idle = [row for row in rows if row.model not in busy]
    return sorted(idle, key=lambda row: (row.state is JobState.QUEUED, row.created_at, row.id))


def heartbeat(connection: Connection, job_id: str, *, attempt: int, lease_expires: datetime) -> Job:
    """Extend the lease, unless the job is to be cancelled."""
    job = owned_job(connection, job_id, attempt=attempt, heed_cancel=False)
    if not job.cancel_requested:
        change(connection, job_id, lease_expires=lease_expires)
    return job


def release_job(connection: Connection, job_id: str, *, attempt: int, now: datetime) -> None:
    """End the lease; that nobody owns it any more tells a released job from one whose worker was lost."""
    owned_job(connection, job_id, attempt=attempt, heed_cancel=False)
    change(connection, job_id, lease_owner=None, lease_expires=now)


def request_cancel(connection: Connection, model: str, job_id: str, now: datetime) -> Job:
    """Cancel at once what nobody works on; ask the worker of what somebody does."""
    lock_model(connection, model)
    job = get_job(connection, model, job_id)
    if job.state is JobState.CANCELLED:
        return job
    if job.state.ended:
        raise JobFinished(f"The job {job_id!r} is {job.state.value} and cannot be cancelled any more.")
    lease_expires = connection.execute(select(jobs.c.lease_expires).where(jobs.c.id == job_id)).scalar()
    if lease_expires is not None and lease_expires > now:
        change(connection, job_id, cancel_requested=True, lease_expires=min(lease_expires, now + CANCEL_LEASE))
    else:
        end(connection, job_id, JobState.CANCELLED, now)
    return get_job(connection, model, job_id)


def owned_job(connection: Connection, job_id: str, *, attempt: int, heed_cancel: bool) -> Job:
    """The job, locked, if this attempt still owns it.

    Args:
        heed_cancel: a requested cancellation wins over what is about to be written.

    Raises:
        UnknownJob: there is none of that id.
        LeaseLost: it was claimed again, has ended, or its cancellation won.
    """
    model = connection.execute(select(jobs.c.model).where(jobs.c.id == job_id)).scalar()
    if model is None:
        raise UnknownJob(f"There is no job {job_id!r}.")
    lock_model(connection, model)
    job = get_job(connection, model, job_id)
    if job.state is not JobState.RUNNING or job.attempt != attempt:
        raise LeaseLost(
            f"Attempt {attempt} of job {job_id!r} does not own it any more: it is {job.state.value}, "
            f"attempt {job.attempt}."
        )
    if heed_cancel and job.cancel_requested:
        raise LeaseLost(f"Attempt {attempt} of job {job_id!r} is to be cancelled: its cancellation won.")
    return job


def change(connection: Connection, job_id: str, **values: object) -> None:
    """Set columns of one job."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def end(connection: Connection, job_id: str, state: JobState, now: datetime, **values: object) -> None:
    """Give the job its final state and take its lease away."""
    change(connection, job_id, state=state, finished_at=now, lease_owner=None, lease_expires=None, **values)


def _take(connection: Connection, row: Row[tuple[object, ...]], *, owner: str, now: datetime, lease_s: float) -> Job:
    change(
        connection,
        row.id,
        state=JobState.RUNNING,
        attempt=row.attempt + 1,
        lease_owner=owner,
        lease_expires=now + timedelta(seconds=lease_s),
        started_at=row.started_at or now,
    )
    return get_job(connection, row.model, row.id)


def _same_request(earlier: Job, job: Job) -> Job:
    if (earlier.recipe, earlier.gate_policy, earlier.dry_run) != (job.recipe, job.gate_policy, job.dry_run):
        raise IdempotencyConflict(
            f"The Idempotency-Key {job.idempotency_key!r} came before, with another recipe or gate, and made "
            f"job {earlier.id!r}. Send a new key for a new request."
        )
    return earlier
