"""What is particular to PostgreSQL: its time limits, its clock, what its errors mean. Both lines.

A database that is gone must be noticed while a client still waits, so every wait has an end: for a connection, for an
answer, for a lock. Isolation is READ COMMITTED, the server's default: each statement sees what is committed when it
begins, and every writer first locks the model's row (`database_models.lock_model`), so that what it reads afterwards
nobody else changes until it ends.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, event, func, select, text
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

T = TypeVar("T")
CONNECT_TIMEOUT_S = 2  # the least that libpq takes
LOCK_TIMEOUT_S = 2
STATEMENT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = STATEMENT_TIMEOUT_S + 1.0  # of a server that does not even say that its time is up
POOL = {"pool_size": 5, "max_overflow": 35, "pool_timeout": 0.5}  # one for each of the service's 40 worker threads
RECYCLE_S = 300  # a new connection also reads the server's clock again
MIGRATION_TIMEOUT_S = 600.0
MIGRATION_LOCK = 0x526970656E  # any number that nobody else locks: "Ripen"
AUDIT_LOCK = MIGRATION_LOCK + 1
DISK_FULL = "53100"
STATES = ("42P01", "42703", "42501")  # no such table or column, not allowed: the database's state, no mistake of ours
LIMITS: dict[str, str | int] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "options": f"-c statement_timeout={STATEMENT_TIMEOUT_S}s -c lock_timeout={LOCK_TIMEOUT_S}s",
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 2000,  # ms that sent bytes may stay unacknowledged: a network that swallows everything
    "application_name": "ripen",
}


def is_postgresql(url: URL) -> bool:
    """Whether the URL names a PostgreSQL server."""
    return url.get_backend_name() == "postgresql"


def connect_arguments(url: URL) -> dict[str, str | int]:
    """The limits of a connection, without those that the URL sets itself."""
    return {name: value for name, value in LIMITS.items() if name not in url.query}


def sql_state(error: BaseException | None) -> str | None:
    """The five characters by which the server names an error; None where it is not the server's."""
    state: str | None = getattr(error, "sqlstate", None)
    return state


class ServerClock:
    """The server's clock, so that several machines measure leases alike; read whenever a connection is made.

    In between, this machine's monotonic clock goes on from there: a question costs no round trip and cannot fail.
    """

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return time.monotonic() + self._ahead_s

    def read(self, connection: DBAPIConnection) -> None:
        """Ask the server; half of the round trip is its answer's age."""
        cursor = connection.cursor()
        asked_s = time.monotonic()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        row = cursor.fetchone()
        assert row is not None
        self._ahead_s = float(row[0]) - (asked_s + time.monotonic()) / 2
        cursor.close()
        connection.rollback()


def prepare(engine: Engine, clock: ServerClock) -> None:
    """Connect impatiently, and read the server's clock with each new connection."""

    def connect(_: Dialect, __: ConnectionPoolEntry, arguments: list[Any], named: dict[str, Any]) -> DBAPIConnection:
        return _Impatient.connect(*arguments, **named)  # type: ignore[return-value]  # psycopg's is one: it says so

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", lambda connection, _: clock.read(connection))


@contextmanager
def migrating(connection: Connection) -> Iterator[None]:
    """Wait for another process's migration, and give each statement as long as it needs."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, _Impatient)
    raw.patience_s = MIGRATION_TIMEOUT_S
    try:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{MIGRATION_TIMEOUT_S:.0f}s'"))
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        yield
    finally:
        raw.patience_s = ANSWER_TIMEOUT_S


class _Impatient(psycopg.Connection[Any]):
    """A connection that gives up, for good, on a server that stopped answering (frozen, not gone)."""

    patience_s = ANSWER_TIMEOUT_S

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for the server's answer, not for ever."""
        started_s = time.monotonic()
        try:
            return super().wait(gen, interval, timeout or self.patience_s)
        except psycopg.OperationalError as error:
            if sql_state(error) is None and time.monotonic() - started_s >= self.patience_s:
                self.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {self.patience_s:.0f} s") from error
            raise
