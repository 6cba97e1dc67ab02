"""The tables, and how a column's value becomes a record's field. Both lines meet in these rows.

`migrations/` makes them; a test keeps the two equal. Every other database file speaks only of the tables below.
"""

from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.engine import RowMapping
from sqlalchemy.types import TypeDecorator

from contract.keys import AuditAction, Role
from contract.recipe import Recipe
from contract.records import Bucket, ChangeKind, Failure, GatePolicy, JobState, Metrics, Progress, Verdict

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
S = TypeVar("S", bound=StrEnum)
R = TypeVar("R", bound="DataclassInstance")
REVISION = "0005"  # of the newest file in migrations/versions; revisions are numbered, so a greater one is newer
LARGEST_NUMBER = 2**31 - 1  # what an Integer column holds everywhere


class JsonText(TypeDecorator[T], Generic[T]):
    """A record as JSON text, checked by msgspec on the way out."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[T]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: T | None, _dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, _dialect: Dialect) -> T | None:
        return None if value is None else msgspec.json.decode(value, type=self.kind)


class EnumText(TypeDecorator[S], Generic[S]):
    """A string enum as its value."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[S]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: S | None, _dialect: Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, _dialect: Dialect) -> S | None:
        return None if value is None else self.kind(value)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime as seconds since the epoch; a double keeps its microseconds until the year 2255."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> float | None:
        return None if value is None else value.timestamp()

    def process_result_value(self, value: float | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value, UTC)


metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "uq": "%(table_name)s_%(column_0_N_name)s_unique",
        "fk": "%(table_name)s_%(column_0_N_name)s_fk",
    }
)

models = Table(
    "models",
    metadata,
    Column("name", String, primary_key=True),
    Column("class_0", String),
    Column("class_1", String),
    Column("split_key", String, nullable=False),
    Column("live_version", Integer),
    Column("live_change", Integer),  # the live_changes row whose version is live: where a rollback starts from
    Column("next_version", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("pinned", Boolean, nullable=False, server_default=false()),
)

examples = Table(
    "examples",
    metadata,
    Column("model", String, ForeignKey("models.name"), primary_key=True),
    Column("id", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("label", String, nullable=False),
    Column("bucket", EnumText(Bucket), nullable=False),
    Column("group_id", String, nullable=False),
    Column("file", String, nullable=False),
    Column("format", String, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("bucket_named", Boolean, nullable=False, server_default=false()),
    Column("settled", Boolean, nullable=False, server_default=false()),
    Column("contributor", String, nullable=False, server_default=""),
    Column("trusted", Boolean, nullable=False, server_default=true()),
    UniqueConstraint("model", "digest"),
    Index("examples_counts", "model", "label", "bucket"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("model", String, ForeignKey("models.name"), nullable=False),
    Column("state", EnumText(JobState), nullable=False),
    Column("recipe", JsonText(Recipe), nullable=False),
    Column("gate_policy", EnumText(GatePolicy), nullable=False),
    Column("progress", JsonText(Progress), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("idempotency_key", String),
    Column("attempt", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("version", Integer),
    Column("verdict", JsonText(Verdict)),
    Column("failure", JsonText(Failure)),
    Column("lease_owner", String),
    Column("lease_expires", UtcTime),
    Column("dry_run", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("model", "idempotency_key"),
    Index("jobs_by_state", "state", "created_at"),
    Index("jobs_by_model", "model", "created_at"),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String, ForeignKey("models.name"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("job_id", String, ForeignKey("jobs.id"), nullable=False, unique=True),
    Column("parent", Integer),
    Column("metrics", JsonText(Metrics), nullable=False),
    Column("verdict", JsonText(Verdict), nullable=False),
    Column("training_seconds", Double, nullable=False),
    Column("manifest_sha256", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_example", String),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("pruned_at", UtcTime),
)

live_changes = Table(
    "live_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("replaced", Integer),
    Column("kind", EnumText(ChangeKind), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("earlier", Integer),  # the live_changes row that a rollback from here brings back
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
    Index("live_changes_by_model", "model", "id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("client", String, nullable=False),
    Column("roles", JsonText(frozenset[Role]), nullable=False),
    Column("digest", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("trusted", Boolean, nullable=False, server_default=true()),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", EnumText(AuditAction), nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous_digest", String, nullable=False),
    Column("digest", String, nullable=False),
)


def to_record(kind: type[R], row: RowMapping) -> R:
    """Make a record of the row's columns that are named like its fields."""
    return kind(**{field.name: row[field.name] for field in fields(kind)})


def to_row(record: "DataclassInstance") -> dict[str, Any]:
    """The record's fields as column values."""
    return {field.name: getattr(record, field.name) for field in fields(record)}
