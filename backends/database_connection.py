"""One SQL database: connections, transactions, migrations, and its errors as ours. Both lines, below `database`.

Only this file knows what is particular to SQLite. A write transaction there begins with BEGIN IMMEDIATE: a transaction
that reads first and writes later would fail at once, in spite of any timeout, when another one wrote in between.
Source: https://www.sqlite.org/isolation.html
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, Insert, column, create_engine, event, func, inspect, select, table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    ProgrammingError,
    TimeoutError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from backends.database_schema import REVISION
from contract.errors import DatabaseUnavailable, InvalidSetting, StorageFull

BUSY_TIMEOUT_S = 5
MIGRATION_LOCK = 0x526970656E  # any number that nobody else locks: "Ripen"
WRITES = "ripen_writes"


class SqlConnections:
    """Gives out transactions; each `with` block is one, committed at its end, rolled back on any error."""

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self._folder = _sqlite_folder(self._url)
        self._reader = create_engine(self._url, pool_timeout=BUSY_TIMEOUT_S)
        self._writer = self._reader.execution_options(**{WRITES: True})
        if self._url.get_backend_name() == "sqlite":
            _prepare_sqlite(self._reader)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A short transaction that only reads."""
        with self._translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write."""
        with self._translated(), self._writer.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema to REVISION, in one transaction that waits for any other migration."""
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseUnavailable(self._cannot_use(error.strerror or str(error))) from error
        with self.read() as connection:
            if _revision(connection) == REVISION:
                return
        with self.write() as connection:
            if connection.dialect.name == "postgresql":  # SQLite holds its write lock already
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            _upgrade(connection)

    def close(self) -> None:
        """Give back all connections."""
        self._reader.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, ProgrammingError, DataError):
            raise  # a mistake of ours, not a state of the database
        except DBAPIError as error:
            raise self._as_ours(error) from error
        except TimeoutError as error:
            raise DatabaseUnavailable("All connections to the database are busy; try again.") from error

    def _as_ours(self, error: DBAPIError) -> DatabaseUnavailable | StorageFull:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
        if code == sqlite3.SQLITE_FULL or getattr(error.orig, "sqlstate", None) == "53100":
            return StorageFull(f"No space is left for the database {self._name}; free some, then try again.")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return DatabaseUnavailable(
                f"The database {self._name} stayed locked for {BUSY_TIMEOUT_S} s; try again, or end what locks it."
            )
        return DatabaseUnavailable(self._cannot_use(" ".join(str(error.orig).split())))

    def _cannot_use(self, because: str) -> str:
        if self._folder is None:
            return f"The database {self._name} cannot be used: {because}. Check that it runs and can be reached."
        return (
            f"The database {self._name} cannot be used: {because}. "
            f"Check that the folder {self._folder} exists, that this user may write in it, and that the file is intact."
        )

    @property
    def _name(self) -> str:
        return str(self._url.database) if self._folder else self._url.render_as_string(hide_password=True)


def try_insert(connection: Connection, statement: Insert) -> bool:
    """Insert one row and return True, or False where a unique column has its value already; the transaction goes on."""
    try:
        with connection.begin_nested():
            connection.execute(statement)
    except IntegrityError:
        return False
    return True


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        scheme = url.partition(":")[0]  # the rest may hold a password
        raise InvalidSetting(
            f"The database URL of scheme {scheme!r} cannot be used; expected one like `sqlite:////folder/ripen.db`."
        ) from error
    return parsed


def _sqlite_folder(url: URL) -> Path | None:
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    return Path(url.database).absolute().parent


def _prepare_sqlite(engine: Engine) -> None:
    """Take transactions out of Python's hands: sqlite3 would begin them late, and never with IMMEDIATE.

    Source: SQLAlchemy, "Using SQLAlchemy to emit BEGIN in lieu of SQLite's transaction control".
    """
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)


def _set_up(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA cache_size = -256")  # KiB; each thread has a connection, and 2 MB each add up
    cursor.close()


def _switch_to_wal(cursor: DBAPICursor) -> None:
    """Wait ourselves: where another process is switching a new file just now, SQLite does not mind its busy timeout."""
    until_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= until_s:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar()


def _upgrade(connection: Connection) -> None:
    present = _revision(connection)
    if present is not None and present > REVISION:
        raise DatabaseUnavailable(
            f"The database's schema is {present}, made by a newer release; this one knows {REVISION}. "
            "Install that release, or restore a backup made before it."
        )
    from alembic import command  # noqa: PLC0415  # 11 MB that a process with a current schema never needs
    from alembic.config import Config  # noqa: PLC0415  # as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
