"""What is particular to SQLite: how a connection is set up, how a transaction begins, what its errors mean. Both lines.

A write transaction begins with BEGIN IMMEDIATE: one that reads first and writes later would fail at once, in spite of
any timeout, when another one wrote in between. Source: https://www.sqlite.org/isolation.html
"""

import os
import sqlite3
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_S = 5
WRITES = "ripen_writes"
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
PERHAPS_FULL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)  # for want of space or inodes for its other files


def folder_of(url: URL) -> Path | None:
    """The folder of the database's file, or None where it is no file."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    return Path(url.database).absolute().parent


def prepare(engine: Engine) -> None:
    """Take transactions out of Python's hands: sqlite3 would begin them late, and never with IMMEDIATE.

    Source: SQLAlchemy, "Using SQLAlchemy to emit BEGIN in lieu of SQLite's transaction control".
    """
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)


def primary_code(error: BaseException | None) -> int:
    """SQLite's primary result code: the low byte of the extended one; 0 where the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_full(code: int, folder: Path | None) -> bool:
    """Whether an error of that code came because no space, or no inode, is left."""
    if code == sqlite3.SQLITE_FULL:
        return True
    if code not in PERHAPS_FULL or folder is None or not folder.is_dir():
        return False
    left = os.statvfs(folder)
    return left.f_bavail == 0 or (left.f_files > 0 and left.f_favail == 0)


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
