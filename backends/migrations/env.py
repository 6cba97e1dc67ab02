"""Run by alembic for each migration: uses the connection, and the transaction, that `database_connection` gives it.

A step before both lines. It configures no logging.
"""

from alembic import context

from backends.database_schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
