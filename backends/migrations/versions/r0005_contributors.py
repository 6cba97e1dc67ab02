"""Who supplied an image, and whether it may judge versions. A step before both lines.

Frozen, and additive: rows that are there, and those of a process of the release before, are of a trusted nobody.
"""

from alembic import op
from sqlalchemy import Boolean, Column, String, true

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """New columns with defaults."""
    op.add_column("examples", Column("contributor", String, nullable=False, server_default=""))
    op.add_column("examples", Column("trusted", Boolean, nullable=False, server_default=true()))
    op.add_column("api_keys", Column("trusted", Boolean, nullable=False, server_default=true()))
