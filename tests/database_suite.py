"""What every `contract.ports.Database` must do: models and examples, versions and what is live.

A test module subclasses the classes and gives the fixtures `database` (migrated, with a model `fruit` of apple and
orange) and `clock`. Jobs have a suite of their own, `database_job_suite`.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from database_records import START, VERDICT, Clock, claimed, example, job, published, version

from contract.errors import (
    ClassesFixed,
    JobRunning,
    LabelConflict,
    LeaseLost,
    NothingToRollBack,
    UnknownExample,
    UnknownJob,
    UnknownModel,
    UnknownVersion,
    VersionInUse,
    VersionPruned,
)
from contract.ports import Database
from contract.records import Bucket, ChangeKind, Decision, ExampleCount, GatePolicy, JobState


class ModelSuite:
    """Models and their examples."""

    def test_model_is_created_once(self, database: Database) -> None:
        first = database.create_model("cats", None)
        assert first.classes is None
        assert first.live_version is None
        assert first.created_at == START
        assert first.created_at.tzinfo is UTC
        assert len(bytes.fromhex(first.split_key)) == 16
        assert database.create_model("cats", None) == first
        assert [model.name for model in database.list_models()] == ["cats", "fruit"]

    def test_classes_are_declared_once_and_never_change(self, database: Database) -> None:
        database.create_model("cats", None)
        declared = database.create_model("cats", ("cat", "dog"))
        assert declared.classes == ("cat", "dog")
        assert database.create_model("cats", None) == database.create_model("cats", ("cat", "dog")) == declared
        with pytest.raises(ClassesFixed, match=r"\['dog', 'cat'\].*\['cat', 'dog'\]"):
            database.create_model("cats", ("dog", "cat"))
        assert database.get_model("cats") == declared

    def test_example_comes_back_as_it_was(self, database: Database) -> None:
        added = example(bucket=Bucket.HOLDOUT)
        assert database.add_example(added) == (added, True)
        assert database.get_example("fruit", added.id) == added

    def test_same_digest_is_one_example(self, database: Database) -> None:
        first = example(digest="d1")
        database.add_example(first)
        assert database.add_example(example(digest="d1")) == (first, False)
        with pytest.raises(LabelConflict, match=f"'orange'.*'apple'.*{first.id}"):
            database.add_example(example(digest="d1", label="orange"))
        database.create_model("other", ("apple", "orange"))
        assert database.add_example(example("other", digest="d1"))[1]

    def test_examples_come_in_pages(self, database: Database) -> None:
        rows = [example(label=label, bucket=bucket) for bucket in Bucket for label in ("apple", "orange")]
        for row in reversed(rows):
            database.add_example(row)
        assert database.list_examples("fruit") == rows
        page = database.list_examples("fruit", limit=3)
        assert page + database.list_examples("fruit", after=page[-1].id) == rows
        assert database.list_examples("fruit", label="orange") == rows[1::2]
        assert database.list_examples("fruit", label="apple", bucket=Bucket.TUNE) == [rows[2]]

    def test_deleted_example_is_gone_and_may_come_again(self, database: Database) -> None:
        row = example(digest="d1")
        database.add_example(row)
        assert database.delete_example("fruit", row.id) == row
        with pytest.raises(UnknownExample, match=row.id):
            database.delete_example("fruit", row.id)
        assert database.add_example(example(digest="d1", label="orange"))[1]

    def test_counts(self, database: Database) -> None:
        for _ in range(2):
            database.add_example(example())
        database.add_example(example(label="orange", bucket=Bucket.TUNE))
        assert database.count_examples() == [
            ExampleCount("fruit", "apple", Bucket.TRAIN, 2),
            ExampleCount("fruit", "orange", Bucket.TUNE, 1),
        ]

    def test_settled_examples_are_settled_for_good(self, database: Database) -> None:
        rows = [example() for _ in range(4)]
        for row in rows:
            database.add_example(row)
        running = claimed(database)
        database.delete_example("fruit", rows[2].id)
        wanted = [
            replace(row, bucket=bucket, group_id=rows[0].digest, settled=True)
            for row, bucket in zip(rows, (Bucket.TRAIN, Bucket.HOLDOUT, Bucket.TUNE), strict=False)
        ]
        database.settle_examples(running.id, attempt=1, examples=wanted)
        assert database.list_examples("fruit") == [*wanted[:2], rows[3]]
        again = [replace(row, bucket=Bucket.EXCLUDED, group_id="other") for row in (*wanted[:2], rows[3])]
        database.settle_examples(running.id, attempt=1, examples=again)
        assert database.list_examples("fruit") == [*wanted[:2], replace(again[2], settled=True)]
        database.settle_examples(running.id, attempt=1, examples=[])

    def test_only_the_job_that_runs_settles(self, database: Database) -> None:
        running = claimed(database)
        database.create_model("cats", ("cat", "dog"))
        database.add_example(row := example("cats"))
        database.add_example(own := example())
        wanted = [replace(one, bucket=Bucket.TUNE, settled=True) for one in (row, own)]
        with pytest.raises(LeaseLost):
            database.settle_examples(running.id, attempt=2, examples=wanted)
        assert database.list_examples("fruit") == [own]
        database.settle_examples(running.id, attempt=1, examples=wanted)
        assert database.list_examples("fruit") == [wanted[1]]
        assert database.list_examples("cats") == [row]
        database.request_cancel("fruit", running.id)
        with pytest.raises(LeaseLost):
            database.settle_examples(running.id, attempt=1, examples=wanted)

    def test_unknown_names(self, database: Database) -> None:
        for ask in (
            database.get_model,
            database.list_examples,
            database.list_jobs,
            database.list_versions,
            database.list_live_changes,
            lambda name: database.add_example(example(name)),
            lambda name: database.get_example(name, "1"),
            lambda name: database.get_job(name, "1"),
            lambda name: database.get_version(name, 1),
            lambda name: database.rollback(name, reason=""),
            lambda name: database.request_cancel(name, "1"),
            lambda name: database.pin_model(name, pinned=True),
            database.delete_model,
            lambda name: database.pin_version(name, 1, pinned=True),
            lambda name: database.prune_version(name, 1),
        ):
            with pytest.raises(UnknownModel, match="'nobody'"):
                ask("nobody")
        with pytest.raises(UnknownExample):
            database.get_example("fruit", "1")
        with pytest.raises(UnknownJob):
            database.get_job("fruit", "1")

    def test_pinned_model(self, database: Database) -> None:
        before = database.get_model("fruit")
        assert not before.pinned
        for _ in range(2):
            assert database.pin_model("fruit", pinned=True) == replace(before, pinned=True)
        assert database.list_models() == [replace(before, pinned=True)]
        assert database.pin_model("fruit", pinned=False) == before

    def test_deleted_model_leaves_no_row(self, database: Database) -> None:
        other = database.create_model("cats", ("cat", "dog"))
        kept = published(database, model="cats", promote=True)
        for _ in range(2):
            published(database, promote=True)
        database.add_example(example())
        model = database.get_model("fruit")
        assert database.delete_model("fruit") == model
        with pytest.raises(UnknownModel, match="'fruit'"):
            database.delete_model("fruit")
        assert database.list_models() == [replace(other, live_version=1)]
        assert [row.live for row in database.aspirations()] == [kept]
        assert {table for table, _ in database.export_rows()} == {
            *("schema", "models", "jobs", "versions", "live_changes", "audit_log")
        }
        again = database.create_model("fruit", ("red", "blue"))
        assert again.split_key != model.split_key
        assert database.list_versions("fruit") == database.list_jobs("fruit") == []

    def test_model_with_an_unfinished_job_is_not_deleted(self, database: Database) -> None:
        queued, _ = database.create_job(job())
        with pytest.raises(JobRunning, match=queued.id):
            database.delete_model("fruit")
        running = database.claim_job(owner="worker", lease_s=10, max_attempts=3)
        assert running is not None
        with pytest.raises(JobRunning, match=queued.id):
            database.delete_model("fruit")
        database.end_job(queued.id, attempt=1, state=JobState.CANCELLED, failure=None)
        database.delete_model("fruit")

    def test_examples_come_while_their_model_is_deleted(self, database: Database) -> None:
        """Each either has a model or is refused."""
        barrier = threading.Barrier(9)

        def add(_: int) -> bool:
            barrier.wait()
            try:
                return database.add_example(example())[1]
            except UnknownModel:
                return False

        def remove() -> None:
            barrier.wait()
            database.delete_model("fruit")

        with ThreadPoolExecutor(9) as pool:
            removing = pool.submit(remove)
            list(pool.map(add, range(8)))
            removing.result()
        assert database.count_examples() == []


class VersionSuite:
    """Versions and what should be live."""

    def test_version_comes_back_as_it_was(self, database: Database) -> None:
        made = published(database)
        assert database.get_version("fruit", 1) == made
        assert database.get_model("fruit").live_version is None
        assert database.aspirations() == []

    @pytest.mark.parametrize("number", [0, -1, 2, 2**31, 2**80])
    def test_unknown_version(self, database: Database, number: int) -> None:
        published(database)
        with pytest.raises(UnknownVersion, match=str(number)):
            database.get_version("fruit", number)
        with pytest.raises(UnknownVersion):
            database.promote("fruit", number, kind=ChangeKind.MANUAL, reason="")

    def test_numbers_are_never_given_twice(self, database: Database) -> None:
        running = claimed(database)
        assert [database.allocate_version(running.id, attempt=1) for _ in range(3)] == [1, 2, 3]
        database.record_version(version(running, 3), attempt=1, promote=False)
        assert published(database).number == 4
        assert [row.number for row in database.list_versions("fruit")] == [4, 3]
        database.create_model("cats", ("cat", "dog"))
        assert published(database, model="cats").number == 1

    def test_gate_promotes_with_the_version(self, database: Database) -> None:
        made = published(database, promote=True)
        assert database.get_model("fruit").live_version == 1
        (change,) = database.list_live_changes("fruit")
        assert (change.version, change.replaced, change.kind) == (1, None, ChangeKind.GATE)
        assert change.reason == "it was asked for it is better"
        (aspiration,) = database.aspirations()
        assert (aspiration.model, aspiration.live, aspiration.previous) == ("fruit", made, None)

    @pytest.mark.parametrize("policy", list(GatePolicy))
    def test_gate_does_not_overrule_a_person_unless_always(self, database: Database, policy: GatePolicy) -> None:
        for _ in range(2):
            published(database, promote=True)
        running = claimed(database)
        verdict = replace(VERDICT, policy=policy, live_version=2)
        made = replace(version(running, database.allocate_version(running.id, attempt=1)), verdict=verdict)
        database.rollback("fruit", reason="a person's choice")
        ended = database.record_version(made, attempt=1, promote=True)
        stored = database.get_version("fruit", 3)
        assert ended.state is JobState.SUCCEEDED
        assert ended.verdict == stored.verdict
        if policy is GatePolicy.ALWAYS:
            assert (_live(database), stored) == ((3, 1), made)
            return
        assert _live(database) == (1, None)
        assert stored.verdict.decision is Decision.INCONCLUSIVE
        assert stored.verdict.reasons[:-1] == verdict.reasons
        assert "judged beside version 2; meanwhile version 1 went live" in stored.verdict.reasons[-1]

    def test_rollbacks_walk_back_to_the_first(self, database: Database) -> None:
        for _ in range(3):
            published(database, promote=True)
        assert _live(database) == (3, 2)
        change = database.rollback("fruit", reason="it is worse")
        assert (change.version, change.replaced, change.kind) == (2, 3, ChangeKind.ROLLBACK)
        assert change.reason == "it is worse"
        assert _live(database) == (2, 1)
        assert database.rollback("fruit", reason="").version == 1
        assert _live(database) == (1, None)
        with pytest.raises(NothingToRollBack, match="before version 1"):
            database.rollback("fruit", reason="")
        assert [row.version for row in database.list_live_changes("fruit")] == [1, 2, 3, 2, 1]
        assert [row.version for row in database.list_live_changes("fruit", limit=1)] == [1]

    def test_a_rollback_may_depend_on_what_is_live(self, database: Database) -> None:
        for _ in range(3):
            published(database, promote=True)
        assert database.rollback("fruit", reason="", live=3, actor="watch").version == 2
        with pytest.raises(NothingToRollBack, match="Version 3 of model 'fruit' is not live any more; version 2 is"):
            database.rollback("fruit", reason="", live=3)
        assert _live(database) == (2, 1)
        assert (database.list_audit(limit=1)[0].actor, database.list_audit(limit=1)[0].subject) == ("watch", "fruit/2")

    def test_promotion_after_a_rollback_continues_from_there(self, database: Database) -> None:
        for _ in range(3):
            published(database, promote=True)
        database.rollback("fruit", reason="")
        published(database, promote=True)
        assert _live(database) == (4, 2)
        assert database.rollback("fruit", reason="").version == 2
        assert database.promote("fruit", 4, kind=ChangeKind.MANUAL, reason="").replaced == 2
        assert _live(database) == (4, 2)

    def test_promotion_back_and_forth_is_undone_step_by_step(self, database: Database) -> None:
        for _ in range(2):
            published(database, promote=True)
        database.promote("fruit", 1, kind=ChangeKind.MANUAL, reason="")
        seen = [database.rollback("fruit", reason="").version for _ in range(2)]
        assert seen == [2, 1]
        with pytest.raises(NothingToRollBack):
            database.rollback("fruit", reason="")

    def test_promoting_the_live_version_is_only_recorded(self, database: Database, clock: Clock) -> None:
        for _ in range(2):
            published(database, promote=True)
        clock.advance(60)
        change = database.promote("fruit", 2, kind=ChangeKind.MANUAL, reason="sure")
        assert (change.version, change.replaced, change.reason) == (2, 2, "sure")
        assert change.created_at == START + timedelta(seconds=60)
        assert database.list_live_changes("fruit")[0] == change
        assert _live(database) == (2, 1)
        assert database.rollback("fruit", reason="").version == 1
        with pytest.raises(NothingToRollBack):
            database.rollback("fruit", reason="")

    def test_aspirations_of_several_models(self, database: Database) -> None:
        database.create_model("cats", ("cat", "dog"))
        database.create_model("empty", ("a", "b"))
        cats = published(database, model="cats", promote=True)
        apples = published(database, promote=True)
        assert [(row.model, row.live, row.previous) for row in database.aspirations()] == [
            ("cats", cats, None),
            ("fruit", apples, None),
        ]

    def test_nothing_to_roll_back_without_a_live_version(self, database: Database) -> None:
        with pytest.raises(NothingToRollBack, match="'fruit'"):
            database.rollback("fruit", reason="")

    def test_second_version_of_a_job_changes_nothing(self, database: Database) -> None:
        made = published(database)
        with pytest.raises(Exception, match="succeeded"):
            database.record_version(replace(made, number=9), attempt=1, promote=True)
        assert [row.number for row in database.list_versions("fruit")] == [1]
        assert database.aspirations() == []

    def test_version_keeps_what_it_learnt_from(self, database: Database) -> None:
        running = claimed(database)
        made = replace(version(running, database.allocate_version(running.id, attempt=1)), last_example="00ff")
        database.record_version(made, attempt=1, promote=False)
        assert database.get_version("fruit", 1) == made

    def test_pinned_version(self, database: Database) -> None:
        made = published(database)
        for _ in range(2):
            assert database.pin_version("fruit", 1, pinned=True) == replace(made, pinned=True)
        with pytest.raises(VersionInUse, match=r"Version 1 .*pinned; unpin"):
            database.prune_version("fruit", 1)
        assert database.pin_version("fruit", 1, pinned=False) == made

    def test_only_what_nobody_needs_is_pruned(self, database: Database, clock: Clock) -> None:
        for _ in range(3):
            published(database, promote=True)
        for number, because in ((3, "live"), (2, "rollback")):
            with pytest.raises(VersionInUse, match=because):
                database.prune_version("fruit", number)
        running = claimed(database)
        with pytest.raises(VersionInUse, match=running.id):
            database.prune_version("fruit", 1)
        database.end_job(running.id, attempt=1, state=JobState.CANCELLED, failure=None)
        clock.advance(60)
        pruned = database.prune_version("fruit", 1)
        assert pruned.pruned_at == START + timedelta(seconds=60)
        clock.advance(60)
        assert database.prune_version("fruit", 1) == database.get_version("fruit", 1) == pruned
        with pytest.raises(UnknownVersion):
            database.prune_version("fruit", 9)

    def test_pruned_version_does_not_come_back(self, database: Database) -> None:
        for _ in range(4):
            published(database, promote=True)
        for number in (1, 2):
            database.prune_version("fruit", number)
        with pytest.raises(VersionPruned, match="version 1 "):
            database.promote("fruit", 1, kind=ChangeKind.MANUAL, reason="")
        with pytest.raises(VersionPruned):
            database.pin_version("fruit", 1, pinned=True)
        assert database.rollback("fruit", reason="").version == 3
        assert _live(database) == (3, None)
        with pytest.raises(NothingToRollBack, match="before version 3"):
            database.rollback("fruit", reason="")

    def test_rollback_steps_over_pruned_versions(self, database: Database) -> None:
        for _ in range(4):
            published(database, promote=True)
        for number in (1, 4):  # live: 1, 2, 3, 4, 1, 4
            database.promote("fruit", number, kind=ChangeKind.MANUAL, reason="")
        for number in (2, 3):
            database.prune_version("fruit", number)
        assert _live(database) == (4, 1)
        database.rollback("fruit", reason="")
        assert _live(database) == (1, 4)
        database.rollback("fruit", reason="")
        assert _live(database) == (4, 1)  # over 3 and 2
        assert database.rollback("fruit", reason="").version == 1
        assert _live(database) == (1, None)

    def test_rollback_never_leads_to_the_live_version(self, database: Database) -> None:
        for _ in range(2):
            published(database, promote=True)
        database.promote("fruit", 1, kind=ChangeKind.MANUAL, reason="")
        published(database, promote=True)  # live: 1, 2, 1, 3
        database.prune_version("fruit", 2)
        assert _live(database) == (3, 1)
        database.rollback("fruit", reason="")
        assert _live(database) == (1, None)


def _live(database: Database) -> tuple[int, int | None]:
    (aspiration,) = database.aspirations()
    assert database.get_model("fruit").live_version == aspiration.live.number
    return aspiration.live.number, aspiration.previous.number if aspiration.previous else None
