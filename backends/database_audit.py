"""The audit log in SQL: lines are only added, each chained to the one before. LINE B step 5, and keys.

Functions over one open transaction; `database` gives each of its methods one. A line is written in the transaction of
what it tells, as its last step. What the chain cannot show is that its newest lines were cut off.
"""

import hashlib
from dataclasses import replace
from datetime import datetime

import msgspec
from sqlalchemy import Connection, func, insert, select

from backends.database_postgresql import AUDIT_LOCK
from backends.database_schema import LARGEST_NUMBER, audit_log, to_record, to_row
from contract.keys import AuditAction, AuditEntry

START = "0" * 64  # the digest before the first line
ROWS_AT_ONCE = 500


def lock_audit(connection: Connection) -> None:
    """Until this transaction ends, nobody else adds a line; SQLite's writers wait for each other anyway.

    Taken after a model's lock, never before one: else two transactions could wait for each other.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(AUDIT_LOCK)))


def write_audit(
    connection: Connection, action: AuditAction, subject: str, detail: str, *, actor: str, now: datetime
) -> None:
    """Add a line."""
    lock_audit(connection)
    newest_first = audit_log.c.sequence.desc()
    last = connection.execute(select(audit_log).order_by(newest_first).limit(1)).mappings().first()
    entry = AuditEntry(
        sequence=last["sequence"] + 1 if last else 1,
        at=now,
        actor=actor,
        action=action,
        subject=subject,
        detail=detail,
        previous_digest=last["digest"] if last else START,
        digest="",
    )
    connection.execute(insert(audit_log).values(to_row(replace(entry, digest=digest_of(entry)))))


def list_audit(connection: Connection, *, limit: int, before: int | None) -> list[AuditEntry]:
    """Newest first."""
    statement = select(audit_log).order_by(audit_log.c.sequence.desc()).limit(limit)
    if before is not None and before <= LARGEST_NUMBER:
        statement = statement.where(audit_log.c.sequence < max(before, 0))
    return [to_record(AuditEntry, row) for row in connection.execute(statement).mappings()]


def check_audit(connection: Connection) -> int | None:
    """Walk the whole chain; the first line that does not fit, or after which one is missing."""
    sequence, digest = 0, START
    statement = select(audit_log).order_by(audit_log.c.sequence).execution_options(yield_per=ROWS_AT_ONCE)
    with connection.execute(statement) as rows:
        for entry in (to_record(AuditEntry, row) for row in rows.mappings()):
            if entry.sequence != sequence + 1:
                return sequence
            if entry.previous_digest != digest or entry.digest != digest_of(entry):
                return entry.sequence
            sequence, digest = entry.sequence, entry.digest
    return None


def digest_of(entry: AuditEntry) -> str:
    """The sha256 of the previous digest and of the line's own fields as JSON."""
    at = entry.at.isoformat(timespec="microseconds")
    fields = (entry.sequence, at, entry.actor, entry.action, entry.subject, entry.detail)
    return hashlib.sha256(entry.previous_digest.encode() + msgspec.json.encode(fields)).hexdigest()
