"""The schema's revision in a database, and the way to this code's. A step before both lines."""

from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from backends.database_schema import REVISION
from contract.errors import DatabaseUnavailable


def is_current(connection: Connection) -> bool:
    """Whether the schema is this code's."""
    return _revision(connection) == REVISION


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, in the connection's transaction.

    Raises:
        DatabaseUnavailable: the schema is newer than this code.
    """
    _refuse_newer(_revision(connection))
    run_migrations(connection, REVISION)


def run_migrations(connection: Connection, revision: str) -> None:
    """Run those that are missing, up to `revision`."""
    from alembic import command  # noqa: PLC0415  # 11 MB that a process with a current schema never needs
    from alembic.config import Config  # noqa: PLC0415  # as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def check(connection: Connection) -> None:
    """Raise DatabaseUnavailable unless the schema is this code's."""
    present = _revision(connection)
    if present is None:
        raise DatabaseUnavailable("The database has no tables yet; the first start makes them (`ripen up`).")
    _refuse_newer(present)
    if present < REVISION:
        raise DatabaseUnavailable(
            f"The database's schema is {present}, made by an older release; the next start brings it to {REVISION}."
        )


def _refuse_newer(present: str | None) -> None:
    if present is not None and present > REVISION:
        raise DatabaseUnavailable(
            f"The database's schema is {present}, made by a newer release; this one knows {REVISION}. "
            "Install that release, or restore a backup made before it."
        )


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar()
