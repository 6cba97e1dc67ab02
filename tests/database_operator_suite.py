"""What every `contract.ports.Database` must do for its operator: keys, the audit log, rows for a backup.

A test module subclasses the classes and gives the fixtures `database` (migrated, with a model `fruit`), `clock`, and
`empty` (migrated, without rows).
"""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from database_records import START, Clock, claimed, example, published

from backends.database_schema import REVISION
from contract.errors import InvalidRequest, NotEmpty, TooManyKeys, UnknownKey
from contract.keys import LOCAL_ACTOR, ApiKey, AuditAction, Role
from contract.ports import Database
from contract.records import ChangeKind

SCHEMA = msgspec.json.encode({"revision": REVISION})
_serial = itertools.count(1)


def api_key(client: str = "kiosk", *, expires_s: float | None = None) -> ApiKey:
    """A key of two roles, newer than those made before."""
    number = next(_serial)
    return ApiKey(
        id=f"{number:012x}",
        client=client,
        roles=frozenset({Role.PREDICT, Role.LABEL}),
        digest=f"{number:064x}",
        created_at=START + timedelta(microseconds=number),
        expires_at=None if expires_s is None else START + timedelta(seconds=expires_s),
    )


class KeySuite:
    """API keys."""

    def test_key_comes_back_as_it_was(self, database: Database) -> None:
        keys = [api_key(), api_key("other", expires_s=60)]
        for key in keys:
            database.add_key(key)
        assert database.list_keys() == keys[::-1]

    def test_two_live_keys_per_client(self, database: Database, clock: Clock) -> None:
        first, second, third = api_key(), api_key(expires_s=60), api_key()
        database.add_key(first)
        database.add_key(second)
        with pytest.raises(TooManyKeys, match=rf"'kiosk'.*{first.id} and {second.id}.*Revoke one"):
            database.add_key(third)
        database.add_key(api_key("other"))
        clock.advance(60)
        database.add_key(third)
        with pytest.raises(TooManyKeys):
            database.add_key(api_key())
        database.revoke_key(first.id)
        database.add_key(api_key())

    def test_many_keys_at_the_same_time_are_two(self, database: Database) -> None:
        barrier = threading.Barrier(6)

        def add(_: int) -> bool:
            key = api_key()
            barrier.wait()
            try:
                database.add_key(key)
            except TooManyKeys:
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(add, range(6))) == 2

    def test_revoked_for_good(self, database: Database, clock: Clock) -> None:
        key = api_key()
        database.add_key(key)
        assert key.live(database.now())
        clock.advance(5)
        revoked = database.revoke_key(key.id)
        assert revoked == replace(key, revoked_at=START + timedelta(seconds=5))
        clock.advance(5)
        assert database.revoke_key(key.id) == revoked == database.list_keys()[0]
        assert not revoked.live(database.now())
        with pytest.raises(UnknownKey, match="'nobody'"):
            database.revoke_key("nobody")


class AuditSuite:
    """The audit log."""

    def test_everything_an_actor_does_is_kept(self, database: Database, clock: Clock) -> None:
        clock.advance(7)
        key, row = api_key(), example()
        database.add_example(row)
        for _ in range(3):
            made = published(database, promote=True)
        database.rollback("fruit", reason="it is worse", actor="ann/1")
        database.promote("fruit", 3, kind=ChangeKind.MANUAL, reason="it is not", actor="ann/1")
        for pinned in (True, False):
            database.pin_version("fruit", 1, pinned=pinned, actor="ann/1")
            database.pin_model("fruit", pinned=pinned, actor="ann/1")
        database.prune_version("fruit", 1, actor="retention")
        database.delete_example("fruit", row.id, actor="ann/1")
        database.add_key(key, actor="ann/1")
        database.revoke_key(key.id, actor="ann/1")
        database.delete_model("fruit", actor="ann/1")
        entries = database.list_audit()[::-1]
        reason = "it was asked for it is better"
        assert [(entry.actor, entry.action, entry.subject, entry.detail) for entry in entries[3:]] == [
            (f"job/{made.job_id}", AuditAction.VERSION_PROMOTED, "fruit/3", reason),
            ("ann/1", AuditAction.VERSION_ROLLED_BACK, "fruit/2", "in place of version 3: it is worse"),
            ("ann/1", AuditAction.VERSION_PROMOTED, "fruit/3", "it is not"),
            ("ann/1", AuditAction.VERSION_PINNED, "fruit/1", ""),
            ("ann/1", AuditAction.MODEL_PINNED, "fruit", ""),
            ("ann/1", AuditAction.VERSION_UNPINNED, "fruit/1", ""),
            ("ann/1", AuditAction.MODEL_UNPINNED, "fruit", ""),
            ("retention", AuditAction.VERSION_PRUNED, "fruit/1", ""),
            ("ann/1", AuditAction.EXAMPLE_DELETED, row.id, "model fruit, label apple"),
            ("ann/1", AuditAction.KEY_ADDED, key.id, "client kiosk, roles label predict"),
            ("ann/1", AuditAction.KEY_REVOKED, key.id, "client kiosk"),
            ("ann/1", AuditAction.MODEL_DELETED, "fruit", "0 examples, 3 versions"),
        ]
        assert (entries[0].actor, entries[0].action) == (LOCAL_ACTOR, AuditAction.MODEL_CREATED)
        assert [entry.sequence for entry in entries] == list(range(1, 16))
        assert entries[1].at == START + timedelta(seconds=7)
        assert database.check_audit() is None

    def test_what_changes_nothing_or_fails_is_not_kept(self, database: Database) -> None:
        published(database, promote=True)
        key = api_key()
        database.add_key(key)
        database.revoke_key(key.id)
        before = database.list_audit()
        database.create_model("fruit", None)
        database.revoke_key(key.id)
        database.pin_model("fruit", pinned=False)
        database.pin_version("fruit", 1, pinned=False)
        claimed(database)
        for refused in (
            lambda: database.rollback("fruit", reason=""),
            lambda: database.prune_version("fruit", 1),
            lambda: database.delete_model("fruit"),
            lambda: database.revoke_key("nobody"),
        ):
            with pytest.raises(Exception, match=r"fruit|nobody"):
                refused()
        assert database.list_audit() == before

    def test_pages(self, database: Database) -> None:
        for name in ("a", "b", "c"):
            database.create_model(name, None)
        assert [entry.subject for entry in database.list_audit(limit=2)] == ["c", "b"]
        assert [entry.subject for entry in database.list_audit(before=3)] == ["a", "fruit"]
        assert database.list_audit(before=1) == database.list_audit(before=-(2**80)) == []
        assert len(database.list_audit(before=2**80)) == 4

    def test_lines_of_many_at_the_same_time_have_no_gap(self, database: Database) -> None:
        barrier = threading.Barrier(6)

        def create(number: int) -> None:
            barrier.wait()
            database.create_model(f"m{number}", None)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(create, range(6)))
        assert [entry.sequence for entry in database.list_audit()] == [7, 6, 5, 4, 3, 2, 1]
        assert database.check_audit() is None

    def test_change_or_gap_is_found(self, database: Database, empty: Database) -> None:
        for name in ("a", "b", "c"):
            database.create_model(name, None)
        rows = list(database.export_rows())
        for number, changes in (
            (2, {"subject": "z"}),
            (3, {"actor": "somebody else"}),
            (1, {"at": 1.0}),
            (4, {"detail": "x"}),
        ):
            assert _found(empty, rows, number, changes) == number
        assert _found(empty, rows, 2, None) == 1
        assert _found(empty, rows, 1, None) == 0
        forged = database.list_audit()[1]
        assert _found(empty, rows, 3, {"previous_digest": "0" * 64, "digest": forged.digest}) == 3


class RowsSuite:
    """Export and import."""

    def test_imported_rows_are_the_exported_ones(self, database: Database, empty: Database) -> None:
        published(database, promote=True)
        published(database, promote=True)
        database.pin_version("fruit", 1, pinned=True)
        running = claimed(database)
        database.add_example(example())
        database.add_key(api_key(expires_s=60))
        rows = list(database.export_rows())
        empty.import_rows(rows)
        assert list(empty.export_rows()) == rows
        for ask in (
            lambda one: one.list_models(),
            lambda one: one.list_examples("fruit"),
            lambda one: one.list_jobs("fruit"),
            lambda one: one.list_versions("fruit"),
            lambda one: one.list_live_changes("fruit"),
            lambda one: one.list_keys(),
            lambda one: one.list_audit(),
            lambda one: one.aspirations(),
        ):
            assert ask(empty) == ask(database)
        assert empty.check_audit() is None
        assert empty.heartbeat(running.id, attempt=1, lease_s=10) == running
        assert empty.rollback("fruit", reason="").version == 1  # new rows get new numbers

    def test_export_is_one_snapshot(self, database: Database) -> None:
        exported = database.export_rows()
        assert next(exported) == ("schema", SCHEMA)
        assert next(exported)[0] == "audit_log"
        database.add_example(example())
        assert "examples" not in {table for table, _ in exported}

    def test_import_needs_an_empty_database(self, database: Database) -> None:
        before = list(database.export_rows())
        with pytest.raises(NotEmpty, match="audit_log"):
            database.import_rows(before)
        assert list(database.export_rows()) == before

    @pytest.mark.parametrize(
        ("rows", "because"),
        [
            ([], "no rows of a backup"),
            ([("models", b"{}")], "no rows of a backup"),
            ([("schema", b'{"revision": 2}')], "no rows of a backup"),
            ([("schema", b"\xff")], "no rows of a backup"),
            ([("schema", b'{"revision": "9999"}')], "9999.*newer release.*" + REVISION),
            ([("schema", SCHEMA), ("nothing", b"{}")], "does not know"),
            ([("schema", SCHEMA), ("models", b'{"name": "a", "more": 1}')], "does not know"),
            ([("schema", SCHEMA), ("models", b'{"name": "a"}')], "do not fit"),
            ([("schema", SCHEMA), ("models", b"[]")], "do not fit"),
        ],
    )
    def test_rows_that_are_not_ours(self, empty: Database, rows: list[tuple[str, bytes]], because: str) -> None:
        with pytest.raises(InvalidRequest, match=because):
            empty.import_rows(rows)
        assert len(list(empty.export_rows())) == 1

    def test_failed_import_leaves_nothing(self, database: Database, empty: Database) -> None:
        database.add_example(example())
        rows = list(database.export_rows())
        with pytest.raises(InvalidRequest):
            empty.import_rows([*rows, ("examples", b'{"model": "nobody"}')])
        assert len(list(empty.export_rows())) == 1
        empty.import_rows(rows)

    def test_older_rows_take_the_defaults_of_new_columns(self, database: Database, empty: Database) -> None:
        published(database)
        running = claimed(database)
        database.add_example(added := example())
        database.settle_examples(running.id, attempt=1, examples=[added])  # as it was in that release
        old = {
            "models": ("pinned",),
            "jobs": ("dry_run",),
            "examples": ("bucket_named", "settled", "contributor", "trusted"),
            "versions": ("pinned", "pruned_at", "last_example"),
        }
        rows = []
        for table, data in list(database.export_rows())[1:]:
            row = msgspec.json.decode(data)
            rows.append((table, msgspec.json.encode({k: v for k, v in row.items() if k not in old.get(table, ())})))
        empty.import_rows([("schema", b'{"revision": "0001"}'), *rows])
        assert empty.list_versions("fruit") == database.list_versions("fruit")
        assert empty.list_models() == database.list_models()
        assert empty.list_jobs("fruit") == database.list_jobs("fruit")
        assert empty.list_examples("fruit") == [replace(added, settled=True, contributor="", trusted=True)]


def _found(
    empty: Database, rows: list[tuple[str, bytes]], number: int, changes: dict[str, object] | None
) -> int | None:
    """What the check says of the rows with one audit line changed, or left out; `empty` is empty again afterwards."""
    changed = []
    for table, data in rows:
        row = msgspec.json.decode(data)
        if table != "audit_log":
            continue
        if row["sequence"] == number:
            if changes is None:
                continue
            row |= changes
        changed.append((table, msgspec.json.encode(row)))
    empty.import_rows([rows[0], *changed])
    found = empty.check_audit()
    _forget(empty)
    return found


def _forget(database: Database) -> None:
    """Empty the audit log, which no method does."""
    with database._connections.write() as connection:  # type: ignore[attr-defined]  # both implementations have it
        connection.exec_driver_sql("DELETE FROM audit_log")
