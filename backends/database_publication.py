"""How a version comes and goes, in SQL: recorded with the end of its job, pruned once nobody needs it. LINE B step 4.

Functions over one open transaction; `database` gives each of its methods one.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, select

from backends.database_audit import write_audit
from backends.database_jobs import end, owned_job
from backends.database_live import make_live, rollback_target
from backends.database_models import get_model, lock_model
from backends.database_schema import jobs, to_row, versions
from backends.database_versions import change, get_version
from contract.errors import VersionInUse
from contract.keys import AuditAction
from contract.records import ChangeKind, Decision, GatePolicy, JobState, LiveChange, Verdict, Version


def record_version(connection: Connection, version: Version, *, attempt: int, promote: bool, now: datetime) -> None:
    """Store the version, end its job, and make it live with `promote`, unless another one became live meanwhile."""
    owned_job(connection, version.job_id, attempt=attempt, heed_cancel=True)  # nobody else changes what is live now
    live = get_model(connection, version.model).live_version
    if promote and live != version.verdict.live_version and version.verdict.policy is not GatePolicy.ALWAYS:
        promote, version = False, replace(version, verdict=_overtaken(version.verdict, live))
    connection.execute(insert(versions).values(to_row(version)))
    end(
        connection,
        version.job_id,
        JobState.SUCCEEDED,
        now,
        version=version.number,
        verdict=version.verdict,
    )
    if promote:
        reason = " ".join(version.verdict.reasons)
        wanted = LiveChange(version.model, version.number, live, ChangeKind.GATE, reason, created_at=now)
        make_live(connection, wanted, actor=f"job/{version.job_id}")


def prune_version(connection: Connection, model: str, number: int, *, actor: str, now: datetime) -> Version:
    """Mark the version as pruned, unless somebody needs its files."""
    lock_model(connection, model)
    version = get_version(connection, model, number)
    if version.pruned_at is not None:
        return version
    need = _need(connection, version)
    if need is not None:
        raise VersionInUse(f"Version {number} of model {model!r} cannot be removed: {need}.")
    change(connection, version, pruned_at=now)
    write_audit(connection, AuditAction.VERSION_PRUNED, f"{model}/{number}", "", actor=actor, now=now)
    return get_version(connection, model, number)


def _need(connection: Connection, version: Version) -> str | None:
    """Who needs the version's files, and what to do first; None: nobody."""
    if get_model(connection, version.model).live_version == version.number:
        return "it is live; promote another one first"
    if version.pinned:
        return "it is pinned; unpin it first"
    target = rollback_target(connection, version.model)
    if target is not None and target.version == version.number:
        return "a rollback would bring it back; promote another version first"
    running = (jobs.c.model == version.model) & (jobs.c.state == JobState.RUNNING)
    job_id = connection.execute(select(jobs.c.id).where(running)).scalar()
    return None if job_id is None else f"the running job {job_id!r} may measure it; wait for its end"


def _overtaken(verdict: Verdict, live: int | None) -> Verdict:
    """The verdict on a version that was judged beside another one than is live now."""
    judged = "nothing" if verdict.live_version is None else f"version {verdict.live_version}"
    reason = (
        f"It was judged beside {judged}; meanwhile version {live} went live, so this one does not. Promote it by hand, "
        "with a reason, if you know better; or train again."
    )
    return replace(verdict, decision=Decision.INCONCLUSIVE, reasons=(*verdict.reasons, reason))
