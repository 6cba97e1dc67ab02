"""SqlDatabase on SQLite passes the suite, and does what only a file can be asked: migrate, stay locked, fill up."""

import logging
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from database_job_suite import JobSuite
from database_operator_suite import AuditSuite, KeySuite, RowsSuite
from database_processes import check_migrate_and_claim
from database_records import Clock, claimed, example, job
from database_suite import ModelSuite, VersionSuite
from sqlalchemy import create_engine

from backends import database_sqlite
from backends.database import SqlDatabase
from backends.database_schema import REVISION, metadata
from contract.errors import DatabaseUnavailable, InvalidSetting, StorageFull
from contract.records import JobState


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "ripen.db"


@pytest.fixture
def database(path: Path, clock: Clock) -> Iterator[SqlDatabase]:
    opened = SqlDatabase(f"sqlite:///{path}", clock=clock)
    opened.migrate()
    opened.create_model("fruit", ("apple", "orange"))
    yield opened
    opened.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[SqlDatabase]:
    opened = SqlDatabase(f"sqlite:///{tmp_path}/empty.db")
    opened.migrate()
    yield opened
    opened.close()


class TestModels(ModelSuite):
    """On SQLite."""


class TestJobs(JobSuite):
    """On SQLite."""


class TestVersions(VersionSuite):
    """On SQLite."""


class TestKeys(KeySuite):
    """On SQLite."""


class TestAudit(AuditSuite):
    """On SQLite."""


class TestRows(RowsSuite):
    """On SQLite."""


def test_migrations_make_exactly_the_tables_of_the_schema(database: SqlDatabase, path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == REVISION
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_migrating_again_changes_nothing(database: SqlDatabase) -> None:
    before = list(logging.getLogger().handlers), logging.getLogger("sqlalchemy").level
    added = example()
    database.add_example(added)
    database.migrate()
    assert database.list_examples("fruit") == [added]
    assert (list(logging.getLogger().handlers), logging.getLogger("sqlalchemy").level) == before


def test_processes_migrate_and_claim_at_once(path: Path) -> None:
    check_migrate_and_claim(f"sqlite:///{path}")


def test_newer_schema_is_refused(database: SqlDatabase, path: Path) -> None:
    _execute(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseUnavailable, match=f"9999.*newer release.*{REVISION}"):
        database.migrate()


def test_schema_is_checked_without_a_change(database: SqlDatabase, path: Path) -> None:
    database.check_schema()
    for revision, because in (
        ("9999", "newer release"),
        ("0001", f"older release; the next start brings it to {REVISION}"),
    ):
        _execute(path, f"UPDATE alembic_version SET version_num = '{revision}'")
        with pytest.raises(DatabaseUnavailable, match=f"{revision}.*{because}"):
            database.check_schema()


def test_failed_migration_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    _execute(path, "CREATE TABLE live_changes (id INTEGER)")
    database = SqlDatabase(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailable, match="live_changes"):
        database.migrate()
    database.close()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        _execute(path, "SELECT * FROM models")


def test_file_is_set_up_for_durability(database: SqlDatabase) -> None:
    with database._connections.read() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert found == ["wal", 2]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000


def test_locked_database(path: Path, database: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_sqlite, "BUSY_TIMEOUT_S", 0)
    impatient = SqlDatabase(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match=r"ripen\.db.*locked"):
        impatient.create_model("cats", None)
    assert [model.name for model in impatient.list_models()] == ["fruit"]  # readers go on
    other.execute("ROLLBACK")
    other.close()
    impatient.create_model("cats", None)
    impatient.close()


def test_full_disk(database: SqlDatabase) -> None:
    running = claimed(database)
    with database._connections.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")  # of the one pooled connection
    fill = (database.create_job(job()) for _ in range(1000))
    with pytest.raises(StorageFull, match=r"ripen\.db"):
        deque(fill, maxlen=0)
    assert database.heartbeat(running.id, attempt=1, lease_s=10).state is JobState.RUNNING


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    database = SqlDatabase(f"sqlite:///{tmp_path}/file/sub/ripen.db")
    with pytest.raises(DatabaseUnavailable, match=f"{tmp_path}/file/sub.*may write"):
        database.migrate()


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    database = SqlDatabase(f"sqlite:///{tmp_path}/missing/ripen.db")
    with pytest.raises(DatabaseUnavailable, match=f"unable to open.*{tmp_path}/missing exists"):
        database.list_models()


def test_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "ripen.db").write_bytes(b"garbage" * 1000)
    database = SqlDatabase(f"sqlite:///{tmp_path}/ripen.db")
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        database.migrate()
    database.close()


def test_database_that_was_never_migrated(tmp_path: Path) -> None:
    database = SqlDatabase(f"sqlite:///{tmp_path}/ripen.db")
    with pytest.raises(DatabaseUnavailable, match="no such table"):
        database.list_models()
    database.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ripen.db",
        "nosuch://host/db",
        "mysql://host/db",
        "postgresql+psycopg2://host/db",
        "postgresql://user:pass@se:cret@host/db",
        "postgresql://user:secret",
    ],
)
def test_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InvalidSetting, match="expected one like `sqlite:") as caught:
        SqlDatabase(url)
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None  # whose text may hold a part of the password


def _execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
