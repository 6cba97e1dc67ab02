"""Whether an image's group and bucket are for life. LINE B, split.

Frozen, and additive: a process of the release before goes on working on these tables until it is stopped. The images
that are there were used by that release in their buckets; those that it adds from now on wait for their first job.
"""

from alembic import op
from sqlalchemy import Boolean, Column, false

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Two columns; what is there is settled."""
    op.add_column("examples", Column("bucket_named", Boolean, nullable=False, server_default=false()))
    op.add_column("examples", Column("settled", Boolean, nullable=False, server_default=false()))
    op.execute("UPDATE examples SET settled = true")
