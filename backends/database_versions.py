"""Versions and which of them should be live, in SQL. LINE B steps 4 and 5.

Functions over one open transaction; `database` gives each of its methods one. A model's `live_change` names the
`live_changes` row whose version is live, and that row's `earlier` the row that a rollback goes back to: a chain, so
that a rollback, and the question what it would bring back, cost the same after a thousand changes.
"""

from dataclasses import replace
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, insert, or_, select, update

from backends.database_jobs import end, owned_job
from backends.database_models import get_model, lock_model
from backends.database_schema import LARGEST_NUMBER, live_changes, models, to_record, to_row, versions
from contract.errors import NothingToRollBack, UnknownVersion
from contract.records import Aspiration, ChangeKind, Decision, GatePolicy, JobState, LiveChange, Verdict, Version


def allocate_version(connection: Connection, job_id: str, *, attempt: int) -> int:
    """Take the model's next number."""
    model = owned_job(connection, job_id, attempt=attempt, heed_cancel=True).model
    this = models.c.name == model
    number: int = connection.execute(select(models.c.next_version).where(this)).scalar_one()
    connection.execute(update(models).where(this).values(next_version=number + 1))
    return number


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
        make_live(connection, version.model, version.number, kind=ChangeKind.GATE, reason=reason, now=now)


def get_version(connection: Connection, model: str, number: int) -> Version:
    """The version, or UnknownModel, or UnknownVersion."""
    row = None
    if 0 < number <= LARGEST_NUMBER:
        this = (versions.c.model == model) & (versions.c.number == number)
        row = connection.execute(select(versions).where(this)).mappings().first()
    if row is None:
        get_model(connection, model)
        raise UnknownVersion(f"Model {model!r} has no version {number}; `versions` lists those it has.")
    return to_record(Version, row)


def list_versions(connection: Connection, model: str) -> list[Version]:
    """Newest first."""
    get_model(connection, model)
    statement = select(versions).where(versions.c.model == model).order_by(versions.c.number.desc())
    return [to_record(Version, row) for row in connection.execute(statement).mappings()]


def make_live(
    connection: Connection, model: str, number: int, *, kind: ChangeKind, reason: str, now: datetime
) -> LiveChange:
    """Declare a version live; the chain grows unless it was live already."""
    live = lock_model(connection, model).live_version
    get_version(connection, model, number)
    made = LiveChange(model=model, version=number, replaced=live, kind=kind, reason=reason, created_at=now)
    current = connection.execute(select(models.c.live_change).where(models.c.name == model)).scalar()
    row_id = _insert_change(connection, made, earlier=current)
    if number != live:
        _go_to(connection, model, change_id=row_id, version=number)
    return made


def rollback(connection: Connection, model: str, *, reason: str, now: datetime) -> LiveChange:
    """Go one step back along the chain."""
    live = lock_model(connection, model).live_version
    earlier_id = (
        select(live_changes.c.earlier)
        .join(models, models.c.live_change == live_changes.c.id)
        .where(models.c.name == model)
        .scalar_subquery()
    )
    target = connection.execute(select(live_changes).where(live_changes.c.id == earlier_id)).first()
    if target is None:
        raise NothingToRollBack(
            f"No version of model {model!r} was live before "
            f"{'any' if live is None else f'version {live}'}; promote the version that you want."
        )
    made = LiveChange(
        model=model, version=target.version, replaced=live, kind=ChangeKind.ROLLBACK, reason=reason, created_at=now
    )
    _insert_change(connection, made, earlier=target.earlier)
    _go_to(connection, model, change_id=target.id, version=target.version)
    return made


def list_live_changes(connection: Connection, model: str, limit: int) -> list[LiveChange]:
    """Newest first."""
    get_model(connection, model)
    of_model = live_changes.c.model == model
    statement = select(live_changes).where(of_model).order_by(live_changes.c.id.desc()).limit(limit)
    return [to_record(LiveChange, row) for row in connection.execute(statement).mappings()]


def aspirations(connection: Connection) -> list[Aspiration]:
    """One query: per model the live version's row, then that of the version before it, if any."""
    current = live_changes.alias("current")
    statement = (
        select(versions)
        .select_from(models)
        .join(current, current.c.id == models.c.live_change)
        .join(live_changes, or_(live_changes.c.id == current.c.id, live_changes.c.id == current.c.earlier))
        .join(
            versions,
            (versions.c.model == live_changes.c.model) & (versions.c.number == live_changes.c.version),
        )
        .order_by(models.c.name, live_changes.c.id.desc())  # `earlier` is always the smaller id
    )
    found = (to_record(Version, row) for row in connection.execute(statement).mappings())
    wanted = []
    for model, group in groupby(found, key=lambda version: version.model):
        live, *before = group
        wanted.append(Aspiration(model=model, live=live, previous=before[0] if before else None))
    return wanted


def _overtaken(verdict: Verdict, live: int | None) -> Verdict:
    """The verdict on a version that was judged beside another one than is live now."""
    judged = "nothing" if verdict.live_version is None else f"version {verdict.live_version}"
    reason = (
        f"It was judged beside {judged}; meanwhile version {live} went live, so this one does not. Promote it by hand, "
        "with a reason, if you know better; or train again."
    )
    return replace(verdict, decision=Decision.INCONCLUSIVE, reasons=(*verdict.reasons, reason))


def _insert_change(connection: Connection, made: LiveChange, *, earlier: int | None) -> int:
    result = connection.execute(insert(live_changes).values(**to_row(made), earlier=earlier))
    row_id = result.inserted_primary_key
    assert row_id is not None
    return int(row_id[0])


def _go_to(connection: Connection, model: str, *, change_id: int, version: int) -> None:
    changes = {"live_change": change_id, "live_version": version}
    connection.execute(update(models).where(models.c.name == model).values(changes))
