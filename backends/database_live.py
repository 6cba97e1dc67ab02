"""Which version should be live, in SQL. LINE B step 5.

Functions over one open transaction; `database` gives each of its methods one. A model's `live_change` names the
`live_changes` row whose version is live, and that row's `earlier` the row that a rollback goes back to: a chain, so
that a rollback, and the question what it would bring back, cost the same after a thousand changes.
"""

from dataclasses import replace
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, Row, insert, or_, select, update

from backends.database_audit import write_audit
from backends.database_models import get_model, lock_model
from backends.database_schema import live_changes, models, to_record, to_row, versions
from backends.database_versions import get_version, pruned
from contract.errors import NothingToRollBack
from contract.keys import AuditAction
from contract.records import Aspiration, ChangeKind, LiveChange, Version


def make_live(connection: Connection, wanted: LiveChange, *, actor: str) -> LiveChange:
    """Declare `wanted.version` live in place of what is; the chain grows unless it was live already."""
    model, number = wanted.model, wanted.version
    made = replace(wanted, replaced=lock_model(connection, model).live_version)
    version = get_version(connection, model, number)
    if version.pruned_at is not None:
        raise pruned(version)
    current = connection.execute(select(models.c.live_change).where(models.c.name == model)).scalar()
    row_id = _insert_change(connection, made, earlier=current)
    if number != made.replaced:
        _go_to(connection, model, change_id=row_id, version=number)
    detail = made.reason
    write_audit(connection, AuditAction.VERSION_PROMOTED, f"{model}/{number}", detail, actor=actor, now=made.created_at)
    return made


def rollback(
    connection: Connection, model: str, *, reason: str, actor: str, now: datetime, expected: int | None = None
) -> LiveChange:
    """Go back along the chain to the version before, over those whose files are gone; only while `expected` is live."""
    live = lock_model(connection, model).live_version
    if expected not in (None, live):
        raise NothingToRollBack(f"Version {expected} of model {model!r} is not live any more; version {live} is.")
    target = rollback_target(connection, model)
    if target is None:
        raise NothingToRollBack(
            f"No version of model {model!r} that is still there was live before "
            f"{'any' if live is None else f'version {live}'}; promote the version that you want."
        )
    made = LiveChange(
        model=model, version=target.version, replaced=live, kind=ChangeKind.ROLLBACK, reason=reason, created_at=now
    )
    _insert_change(connection, made, earlier=target.earlier)
    _go_to(connection, model, change_id=target.id, version=target.version)
    subject, detail = f"{model}/{target.version}", f"in place of version {live}: {reason}"
    write_audit(connection, AuditAction.VERSION_ROLLED_BACK, subject, detail, actor=actor, now=now)
    return made


def rollback_target(connection: Connection, model: str) -> Row[tuple[object, ...]] | None:
    """The `live_changes` row that a rollback goes back to: the nearest whose version is another one and still there."""
    of_model = models.c.name == model
    joined = select(live_changes.c.earlier, live_changes.c.version).join(
        models, models.c.live_change == live_changes.c.id
    )
    live = connection.execute(joined.where(of_model)).first()
    following = live.earlier if live else None
    while live is not None and following is not None:
        version = (versions.c.model == live_changes.c.model) & (versions.c.number == live_changes.c.version)
        step = select(live_changes, versions.c.pruned_at).join(versions, version)
        row = connection.execute(step.where(live_changes.c.id == following)).one()
        if row.pruned_at is None and row.version != live.version:
            return row
        following = row.earlier
    return None


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
    return [_step_over(connection, one) for one in wanted]


def _step_over(connection: Connection, found: Aspiration) -> Aspiration:
    """Look further back where the version before is gone; seldom, so the question above stays one query."""
    if found.previous is None or found.previous.pruned_at is None:
        return found
    target = rollback_target(connection, found.model)
    return replace(found, previous=get_version(connection, found.model, target.version) if target else None)


def _insert_change(connection: Connection, made: LiveChange, *, earlier: int | None) -> int:
    result = connection.execute(insert(live_changes).values(**to_row(made), earlier=earlier))
    row_id = result.inserted_primary_key
    assert row_id is not None
    return int(row_id[0])


def _go_to(connection: Connection, model: str, *, change_id: int, version: int) -> None:
    changes = {"live_change": change_id, "live_version": version}
    connection.execute(update(models).where(models.c.name == model).values(changes))
