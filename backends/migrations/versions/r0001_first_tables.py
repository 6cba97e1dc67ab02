"""The first tables. A step before both lines.

Frozen: it makes the tables as they were then, so it names plain column types and no record.
"""

from alembic import op
from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    String,
    Text,
    UniqueConstraint,
)

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all five tables; a referenced table comes before its references."""
    _models()
    _examples()
    _jobs()
    _versions()
    _live_changes()


def _models() -> None:
    op.create_table(
        "models",
        Column("name", String, nullable=False),
        Column("class_0", String),
        Column("class_1", String),
        Column("split_key", String, nullable=False),
        Column("live_version", Integer),
        Column("live_change", Integer),
        Column("next_version", Integer, nullable=False),
        Column("created_at", Double, nullable=False),
        PrimaryKeyConstraint("name", name="models_pk"),
    )


def _examples() -> None:
    op.create_table(
        "examples",
        Column("model", String, nullable=False),
        Column("id", String, nullable=False),
        Column("digest", String, nullable=False),
        Column("label", String, nullable=False),
        Column("bucket", String, nullable=False),
        Column("group_id", String, nullable=False),
        Column("file", String, nullable=False),
        Column("format", String, nullable=False),
        Column("width", Integer, nullable=False),
        Column("height", Integer, nullable=False),
        Column("size_bytes", Integer, nullable=False),
        Column("created_at", Double, nullable=False),
        PrimaryKeyConstraint("model", "id", name="examples_pk"),
        ForeignKeyConstraint(["model"], ["models.name"], name="examples_model_fk"),
        UniqueConstraint("model", "digest", name="examples_model_digest_unique"),
    )
    op.create_index("examples_counts", "examples", ["model", "label", "bucket"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        Column("id", String, nullable=False),
        Column("model", String, nullable=False),
        Column("state", String, nullable=False),
        Column("recipe", Text, nullable=False),
        Column("gate_policy", String, nullable=False),
        Column("progress", Text, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("idempotency_key", String),
        Column("attempt", Integer, nullable=False),
        Column("cancel_requested", Boolean, nullable=False),
        Column("started_at", Double),
        Column("finished_at", Double),
        Column("version", Integer),
        Column("verdict", Text),
        Column("failure", Text),
        Column("lease_owner", String),
        Column("lease_expires", Double),
        PrimaryKeyConstraint("id", name="jobs_pk"),
        ForeignKeyConstraint(["model"], ["models.name"], name="jobs_model_fk"),
        UniqueConstraint("model", "idempotency_key", name="jobs_model_idempotency_key_unique"),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "created_at"])
    op.create_index("jobs_by_model", "jobs", ["model", "created_at"])


def _versions() -> None:
    op.create_table(
        "versions",
        Column("model", String, nullable=False),
        Column("number", Integer, nullable=False, autoincrement=False),
        Column("job_id", String, nullable=False),
        Column("parent", Integer),
        Column("metrics", Text, nullable=False),
        Column("verdict", Text, nullable=False),
        Column("training_seconds", Double, nullable=False),
        Column("manifest_sha256", String, nullable=False),
        Column("created_at", Double, nullable=False),
        PrimaryKeyConstraint("model", "number", name="versions_pk"),
        ForeignKeyConstraint(["model"], ["models.name"], name="versions_model_fk"),
        ForeignKeyConstraint(["job_id"], ["jobs.id"], name="versions_job_id_fk"),
        UniqueConstraint("job_id", name="versions_job_id_unique"),
    )


def _live_changes() -> None:
    op.create_table(
        "live_changes",
        Column("id", Integer, nullable=False),
        Column("model", String, nullable=False),
        Column("version", Integer, nullable=False),
        Column("replaced", Integer),
        Column("kind", String, nullable=False),
        Column("reason", Text, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("earlier", Integer),
        PrimaryKeyConstraint("id", name="live_changes_pk"),
        ForeignKeyConstraint(
            ["model", "version"], ["versions.model", "versions.number"], name="live_changes_model_version_fk"
        ),
    )
    op.create_index("live_changes_by_model", "live_changes", ["model", "id"])
