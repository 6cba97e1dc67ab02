"""One SQL database: connections, transactions, and its errors as ours. Both lines, below `database`.

What is particular to one technology is in `database_sqlite` and `database_postgresql`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from sqlalchemy import Connection, Engine, Table, create_engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    TimeoutError,
)

from backends import database_migration, database_postgresql, database_sqlite
from contract.errors import DatabaseUnavailable, InvalidRequest, InvalidSetting, RipenError, StorageFull

DRIVERS = ("sqlite", "postgresql+psycopg")


class SqlConnections:
    """Gives out transactions; each `with` block is one, committed at its end, rolled back on any error."""

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self._folder = database_sqlite.folder_of(self._url)
        self.clock: Callable[[], float] = time.time
        self._reader = self._engine()
        self._writer = self._reader.execution_options(**{database_sqlite.WRITES: True})
        # SQLite's readers see one snapshot anyway
        self._snapshots = self._reader.execution_options(
            **({"isolation_level": "REPEATABLE READ"} if self._is_postgresql else {})
        )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A short transaction that only reads."""
        with self._translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A long transaction that only reads; all its statements see the same."""
        with self._translated(), self._snapshots.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write."""
        with self._translated(), self._writer.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema to this code's revision, in one transaction that waits for any other migration."""
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseUnavailable(self._cannot_use(error.strerror or str(error))) from error
        with self.read() as connection:
            if database_migration.is_current(connection):
                return
        with self.write() as connection, self._migrating(connection):
            database_migration.upgrade(connection)

    def check_schema(self) -> None:
        """Raise DatabaseUnavailable unless the schema is this code's."""
        with self.read() as connection:
            database_migration.check(connection)

    def close(self) -> None:
        """Give back all connections."""
        self._reader.dispose()

    @property
    def _is_postgresql(self) -> bool:
        return database_postgresql.is_postgresql(self._url)

    def _migrating(self, connection: Connection) -> AbstractContextManager[None]:
        """Wait for another process's migration; with SQLite, whoever writes has the only write lock already."""
        return database_postgresql.migrating(connection) if self._is_postgresql else nullcontext()

    def _engine(self) -> Engine:
        if not self._is_postgresql:
            engine = create_engine(self._url, pool_timeout=database_sqlite.BUSY_TIMEOUT_S, hide_parameters=True)
            if self._url.get_backend_name() == "sqlite":
                database_sqlite.prepare(engine)
            return engine
        engine = create_engine(
            self._url,
            connect_args=database_postgresql.connect_arguments(self._url),
            pool_pre_ping=True,  # a server that was started again is used again without one failed request
            pool_recycle=database_postgresql.RECYCLE_S,
            hide_parameters=True,  # no row's content in a log
            **database_postgresql.POOL,
        )
        self.clock = clock = database_postgresql.ServerClock()
        database_postgresql.prepare(engine, clock)
        return engine

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            ours = self._as_ours(error)
            if ours is None:
                raise
            raise ours from error
        except TimeoutError as error:
            raise DatabaseUnavailable("All connections to the database are busy; try again.") from error

    def _as_ours(self, error: DBAPIError) -> RipenError | None:
        """What the error says of the database's state or of the request's text; None where it is a mistake of ours."""
        code, state = database_sqlite.primary_code(error.orig), database_postgresql.sql_state(error.orig)
        if isinstance(error, DataError) and state is None and self._is_postgresql:  # psycopg's own, before it sends
            return InvalidRequest("A text holds the character U+0000, which cannot be stored; send it without.")
        if isinstance(error, (IntegrityError, ProgrammingError, DataError)) and state not in database_postgresql.STATES:
            return None
        if database_sqlite.is_full(code, self._folder) or state == database_postgresql.DISK_FULL:
            return StorageFull(f"No space is left for the database {self._name}; free some, then try again.")
        if code in database_sqlite.LOCKED:
            return DatabaseUnavailable(
                f"The database {self._name} stayed locked for {database_sqlite.BUSY_TIMEOUT_S} s; try again, or end "
                "what locks it."
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
        """What messages call it: a path, or a URL without anything that may be secret."""
        if self._folder:
            return str(self._url.database)
        return self._url.set(query={}).render_as_string(hide_password=True)


def try_insert(connection: Connection, target: Table, row: dict[str, object], *, unique: tuple[str, ...]) -> bool:
    """Insert a row and return True, or False where one has the same values in the `unique` columns already."""
    postgres = connection.dialect.name == "postgresql"
    statement = (postgresql.insert if postgres else sqlite.insert)(target).values(row)
    statement = statement.on_conflict_do_nothing(index_elements=unique)
    return connection.execute(statement.execution_options(preserve_rowcount=True)).rowcount == 1


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in DRIVERS:
        scheme = url.partition(":")[0]  # the rest may hold a password, and so may the error before
        raise InvalidSetting(
            f"The database URL of scheme {scheme!r} cannot be used; expected one like `sqlite:////folder/ripen.db` or "
            "`postgresql://user:password@host/database` (with `%40` for an @ in the password, `%3A` for a colon)."
        )
    return parsed
