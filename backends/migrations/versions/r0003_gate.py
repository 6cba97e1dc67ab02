"""Jobs that promote nothing. A step before both lines.

Frozen, and additive, as `r0002_keys_and_retention`.
"""

from alembic import op
from sqlalchemy import Boolean, Column, false

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """A new column; the jobs that are there are no dry runs."""
    op.add_column("jobs", Column("dry_run", Boolean, nullable=False, server_default=false()))
