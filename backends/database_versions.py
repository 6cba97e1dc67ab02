"""Recorded versions in SQL: numbers, rows, pins. LINE B step 4.

Functions over one open transaction; `database` gives each of its methods one. What is live is in `database_live`, how a
version comes and goes in `database_publication`.
"""

from datetime import datetime

from sqlalchemy import Connection, select, update

from backends.database_audit import write_audit
from backends.database_jobs import owned_job
from backends.database_models import get_model, lock_model
from backends.database_schema import LARGEST_NUMBER, models, to_record, versions
from contract.errors import UnknownVersion, VersionPruned
from contract.keys import AuditAction
from contract.records import Version


def allocate_version(connection: Connection, job_id: str, *, attempt: int) -> int:
    """Take the model's next number."""
    model = owned_job(connection, job_id, attempt=attempt, heed_cancel=True).model
    this = models.c.name == model
    number: int = connection.execute(select(models.c.next_version).where(this)).scalar_one()
    connection.execute(update(models).where(this).values(next_version=number + 1))
    return number


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


def pin_version(connection: Connection, model: str, number: int, *, pinned: bool, actor: str, now: datetime) -> Version:
    """Pin or unpin; what is so already stays as it is."""
    lock_model(connection, model)
    version = get_version(connection, model, number)
    if pinned and version.pruned_at is not None:
        raise pruned(version)
    if version.pinned is pinned:
        return version
    change(connection, version, pinned=pinned)
    action = AuditAction.VERSION_PINNED if pinned else AuditAction.VERSION_UNPINNED
    write_audit(connection, action, f"{model}/{number}", "", actor=actor, now=now)
    return get_version(connection, model, number)


def change(connection: Connection, version: Version, **values: object) -> None:
    """Set columns of one version."""
    this = (versions.c.model == version.model) & (versions.c.number == version.number)
    connection.execute(update(versions).where(this).values(**values))


def pruned(version: Version) -> VersionPruned:
    """The error of whoever needs a version's files after they were removed."""
    return VersionPruned(
        f"The files of version {version.number} of model {version.model!r} were removed; only its record is left. "
        "Take another version, or train a new one."
    )
