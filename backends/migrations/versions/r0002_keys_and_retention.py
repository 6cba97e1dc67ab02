"""API keys, the audit log, and what may be pruned. A step before both lines.

Frozen, and additive: a process of the release before goes on working on these tables until it is stopped.
"""

from alembic import op
from sqlalchemy import Boolean, Column, Double, Integer, PrimaryKeyConstraint, String, Text, false

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Two tables more, and new columns that are empty in the rows that are there."""
    op.add_column("models", Column("pinned", Boolean, nullable=False, server_default=false()))
    op.add_column("versions", Column("last_example", String))
    op.add_column("versions", Column("pinned", Boolean, nullable=False, server_default=false()))
    op.add_column("versions", Column("pruned_at", Double))
    _api_keys()
    _audit_log()


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        Column("id", String, nullable=False),
        Column("client", String, nullable=False),
        Column("roles", Text, nullable=False),
        Column("digest", String, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("expires_at", Double),
        Column("revoked_at", Double),
        PrimaryKeyConstraint("id", name="api_keys_pk"),
    )


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        Column("sequence", Integer, nullable=False, autoincrement=False),
        Column("at", Double, nullable=False),
        Column("actor", String, nullable=False),
        Column("action", String, nullable=False),
        Column("subject", String, nullable=False),
        Column("detail", Text, nullable=False),
        Column("previous_digest", String, nullable=False),
        Column("digest", String, nullable=False),
        PrimaryKeyConstraint("sequence", name="audit_log_pk"),
    )
