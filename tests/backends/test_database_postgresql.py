"""SqlDatabase on PostgreSQL passes the same suite, and does what only a server can be asked: vanish, freeze."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import first_home
import postgresql
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from database_job_suite import JobSuite
from database_operator_suite import AuditSuite, KeySuite, RowsSuite
from database_processes import check_migrate_and_claim
from database_records import Clock, example
from database_suite import ModelSuite, VersionSuite
from sqlalchemy import MetaData, create_engine, text

from backends import database_migration, database_models, database_postgresql
from backends.database import SqlDatabase
from backends.database_schema import REVISION, metadata
from contract.errors import DatabaseUnavailable, InvalidRequest, StorageFull
from contract.records import JobState


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url() -> str:
    return postgresql.shared().new_database()


@pytest.fixture
def database(url: str, clock: Clock) -> Iterator[SqlDatabase]:
    opened = SqlDatabase(url, clock=clock)
    opened.create_model("fruit", ("apple", "orange"))
    yield opened
    opened.close()


@pytest.fixture
def empty() -> Iterator[SqlDatabase]:
    opened = SqlDatabase(postgresql.shared().new_database())
    yield opened
    opened.close()


class TestModels(ModelSuite):
    """On PostgreSQL."""


class TestJobs(JobSuite):
    """On PostgreSQL."""


class TestVersions(VersionSuite):
    """On PostgreSQL."""


class TestKeys(KeySuite):
    """On PostgreSQL."""


class TestAudit(AuditSuite):
    """On PostgreSQL."""


class TestRows(RowsSuite):
    """On PostgreSQL."""


def test_migrations_make_exactly_the_tables_of_the_schema(url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == REVISION
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_processes_migrate_and_claim_at_once() -> None:
    check_migrate_and_claim(postgresql.shared().new_database("template0"))


def test_migration_waits_for_another_one_beyond_every_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgresql.shared().new_database("template0")
    monkeypatch.setattr(database_postgresql, "LIMITS", {"options": "-c statement_timeout=100 -c lock_timeout=100"})
    monkeypatch.setattr(database_postgresql._Impatient, "patience_s", 0.3)
    database = SqlDatabase(url)
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [database_postgresql.MIGRATION_LOCK])
        migrating = threading.Thread(target=database.migrate)
        migrating.start()
        migrating.join(1.0)
        assert migrating.is_alive()
    migrating.join(60)
    assert database.list_models() == []
    database.close()


def test_first_schema_is_migrated(tmp_path: Path) -> None:
    """The rows of the first release's SQLite database, in a PostgreSQL database of the same schema."""
    first_home.write_database(tmp_path / "ripen.db")
    url = postgresql.shared().new_database("template0")
    target = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    source = create_engine(f"sqlite:///{tmp_path}/ripen.db")
    with target.begin() as into, source.connect() as rows:
        database_migration.run_migrations(into, "0001")
        tables = MetaData()
        tables.reflect(into, only=lambda name, _: name != "alembic_version")
        for table in tables.sorted_tables:
            into.execute(table.insert(), [dict(row) for row in rows.execute(table.select()).mappings()])
    migrated = [SqlDatabase(url), SqlDatabase(f"sqlite:///{tmp_path}/ripen.db")]
    for database in migrated:
        database.migrate()
    assert _all_of(migrated[0]) == _all_of(migrated[1])
    (aspiration,) = migrated[0].aspirations()
    assert (aspiration.live.number, aspiration.previous and aspiration.previous.number) == (2, 1)
    assert not aspiration.live.pinned
    assert (aspiration.live.last_example, aspiration.live.pruned_at) == (None, None)
    assert migrated[0].get_job("default", first_home.WAITING_JOB).state is JobState.QUEUED
    for database in migrated:
        database.close()
    target.dispose()
    source.dispose()


def test_rows_of_sqlite_fit(empty: SqlDatabase, tmp_path: Path) -> None:
    first_home.write_database(tmp_path / "ripen.db")
    source = SqlDatabase(f"sqlite:///{tmp_path}/ripen.db")
    source.migrate()
    empty.import_rows(source.export_rows())
    assert list(empty.export_rows()) == list(source.export_rows())
    assert _all_of(empty) == _all_of(source)
    source.close()


def test_newer_schema_is_refused(url: str) -> None:
    _execute(url, "UPDATE alembic_version SET version_num = '9999'")
    database = SqlDatabase(url)
    with pytest.raises(DatabaseUnavailable, match=rf"9999.*newer release.*{REVISION}"):
        database.migrate()
    database.close()


def test_database_that_was_never_migrated() -> None:
    database = SqlDatabase(postgresql.shared().new_database("template0"))
    with pytest.raises(DatabaseUnavailable, match="does not exist"):
        database.list_models()
    database.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_forms_of_the_url(url: str, scheme: str) -> None:
    database = SqlDatabase(url.replace("postgresql", scheme, 1))
    assert database.list_models() == []
    database.close()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("pass%20word%2F%231@", "secret@"),
        (":pass%20word%2F%231@127.0.0.1", "@127.0.0.1"),
    ],
    ids=["password", "parameter"],
)
def test_refused_connection_keeps_the_password_secret(url: str, right: str, wrong: str) -> None:
    asked = url.replace(right, wrong) + ("" if "secret" in wrong else "?password=secret")
    database = SqlDatabase(asked)
    with pytest.raises(DatabaseUnavailable, match=r"postgresql\+psycopg://ripen.*authentication failed") as caught:
        database.list_models()
    assert "secret" not in str(caught.value)
    database.close()


def test_database_that_does_not_exist(url: str) -> None:
    database = SqlDatabase(f"{url}_not")
    with pytest.raises(DatabaseUnavailable, match="does not exist") as caught:
        database.list_models()
    assert "pass" not in str(caught.value)
    database.close()


def test_server_that_is_not_there() -> None:
    with socket.socket() as closed:  # bound and never listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        database = SqlDatabase(f"postgresql://ripen:secret@127.0.0.1:{closed.getsockname()[1]}/ripen")
        assert _refusal_s(database.list_models, "refused") < 2.5


def test_server_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        database = SqlDatabase(f"postgresql://ripen:secret@127.0.0.1:{silent.getsockname()[1]}/ripen")
        assert database_postgresql.CONNECT_TIMEOUT_S <= _refusal_s(database.list_models, "timeout") < 10


def test_cut_connection_is_replaced_at_once(database: SqlDatabase, url: str) -> None:
    assert _cut_others(url) >= 1
    assert [model.name for model in database.list_models()] == ["fruit"]


def test_cut_in_the_middle_of_a_transaction(database: SqlDatabase, url: str) -> None:
    def cut() -> None:
        with database._connections.write() as connection:
            connection.execute(text("SELECT 1"))
            _cut_others(url)
            connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable, match="Check that it runs"):
        cut()
    assert [model.name for model in database.list_models()] == ["fruit"]


def test_frozen_server_is_given_up(database: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_postgresql._Impatient, "patience_s", 0.5)
    frozen: list[int] = []

    def freeze() -> None:
        with database._connections.write() as connection:
            frozen.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            os.kill(frozen[0], signal.SIGSTOP)
            connection.execute(text("SELECT 1"))

    try:
        assert _refusal_s(freeze, "no answer within") >= 0.5
    finally:
        os.kill(frozen[0], signal.SIGCONT)
    monkeypatch.undo()
    assert [model.name for model in database.list_models()] == ["fruit"]


def test_locked_model(url: str, database: SqlDatabase) -> None:
    impatient = SqlDatabase(f"{url}?options=-c%20lock_timeout%3D100")
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM models FOR UPDATE")
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            impatient.pin_model("fruit", pinned=True)
    assert impatient.pin_model("fruit", pinned=True).pinned
    impatient.close()


def test_uploads_do_not_wait_for_who_changes_the_model(url: str, database: SqlDatabase) -> None:
    other = SqlDatabase(url)
    with other._connections.write() as connection:
        database_models.lock_model(connection, "fruit")
        assert database.add_example(example())[1]
    other.close()


def test_statement_that_takes_too_long(url: str) -> None:
    database = SqlDatabase(f"{url}?options=-c%20statement_timeout%3D100")
    with pytest.raises(DatabaseUnavailable, match="statement timeout"), database._connections.read() as connection:
        connection.execute(text("SELECT pg_sleep(60)"))
    database.close()


def test_full_disk(database: SqlDatabase) -> None:
    raising = "DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
    with pytest.raises(StorageFull, match="No space is left"), database._connections.write() as connection:
        connection.execute(text(raising))


def test_text_that_cannot_be_stored(database: SqlDatabase) -> None:
    with pytest.raises(InvalidRequest, match=r"U\+0000"):
        database.get_model("a\x00b")


def test_leases_are_measured_by_the_server(url: str) -> None:
    database = SqlDatabase(url)
    database.list_models()
    database._connections.clock._ahead_s += 1000  # type: ignore[attr-defined]  # as if this machine's clock were wrong
    database.close()
    database.list_models()  # a new connection reads the clock
    with psycopg.connect(url) as other:
        row = other.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    assert row is not None
    assert abs(database.now().timestamp() - float(row[0])) < 5
    database.close()


def _all_of(database: SqlDatabase) -> list[object]:
    return [
        database.list_models(),
        database.list_examples("default"),
        database.list_jobs("default"),
        database.list_versions("default"),
        database.list_live_changes("default"),
        database.aspirations(),
    ]


def _refusal_s(ask: Callable[[], object], because: str) -> float:
    began_s = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match=because) as caught:
        ask()
    assert "secret" not in str(caught.value)
    return time.monotonic() - began_s


def _cut_others(url: str) -> int:
    """End every other connection to the same database; return how many there were."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url) as connection:
        return connection.execute(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"  # type: ignore[arg-type]  # it wants a literal
        ).rowcount


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[arg-type]  # it wants a literal
