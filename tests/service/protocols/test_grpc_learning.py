"""ripen.v1.Learning over a real socket, beside the REST that it mirrors; real SQLite, storage in memory."""

import threading
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
import tiny_version
from google.protobuf.json_format import MessageToDict
from running_service import CLASSES, RunningService, picture, running

from contract.comparison import Comparison, Difference
from contract.errors import DatabaseUnavailable, StorageFull
from contract.recipe import Recipe
from contract.records import (
    Example,
    ExampleCount,
    Job,
    JobState,
    LiveChange,
    Metrics,
    Progress,
    Verdict,
    Version,
)
from contract.training import Epoch
from protos import ripen_v1_pb2 as v1
from protos import ripen_v1_pb2_grpc
from service.lineage import Deletion, Trace
from service.protocols import rest_answers
from service.protocols.tensors import Message

Learning = ripen_v1_pb2_grpc.LearningStub
SAME_FIELDS = [
    (Recipe, v1.Recipe),
    (Job, v1.Job),
    (Progress, v1.Progress),
    (Epoch, v1.Epoch),
    (Metrics, v1.Metrics),
    (Verdict, v1.Verdict),
    (Comparison, v1.Comparison),
    (Difference, v1.Difference),
    (LiveChange, v1.LiveChange),
    (Example, v1.Example),
    (ExampleCount, v1.ExampleCount),
    (Deletion, v1.DeletedExample),
    (Trace, v1.Trace),
    (rest_answers.ModelAnswer, v1.Model),
    (rest_answers.ModelsAnswer, v1.ListModelsResponse),
    (rest_answers.ExamplesAnswer, v1.ListExamplesResponse),
    (rest_answers.JobsAnswer, v1.ListJobsResponse),
    (rest_answers.ServiceStatus, v1.ServiceStatus),
    (rest_answers.VersionAnswer, v1.Version),
    (rest_answers.VersionsAnswer, v1.ListVersionsResponse),
]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with running(tmp_path) as (service, _):
        yield service


@pytest.fixture
def learning(service: RunningService) -> Iterator[Learning]:
    with grpc.insecure_channel(service.grpc_address) as channel:
        yield Learning(channel)


@pytest.fixture
def rest(service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{service.rest_url}/api/v1", timeout=20) as client:
        yield client


def labelled(label: str, *values: int, **changes: object) -> list[Message]:
    return [v1.AddExampleRequest(label=label, data=picture(value), file=f"{value}.png", **changes) for value in values]


def fill(learning: Learning) -> None:
    messages = [*labelled("apple", *range(30)), *labelled("orange", *range(100, 130))]
    messages += labelled("apple", 40, bucket="holdout") + labelled("orange", 140, bucket="holdout")
    learning.AddExamples(iter(messages), timeout=20)


def refused(call: grpc.UnaryUnaryMultiCallable, request: Message) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20)
    return caught.value.code().name, dict(caught.value.trailing_metadata())["ripen-error-code"]


def plain(message: Message) -> dict[str, object]:
    return MessageToDict(message, preserving_proto_field_name=True)


def publish(service: RunningService, number: int, *, promote: bool = True) -> Version:
    service.core.learning.start("default", changes={})
    claimed = service.database.claim_job(owner="test", lease_s=60, max_attempts=3)
    assert claimed is not None
    assert service.database.allocate_version(claimed.id, attempt=1) == number
    verdict = Verdict(
        tiny_version.Decision.PROMOTE,
        tiny_version.GatePolicy.ALWAYS,
        ("a test",),
        tiny_version.METRICS,
        comparisons=(Comparison("all", 40, True, False, 0.9, 0.85, 4, 2, 0.5, Difference(0.0, -0.2, 0.01)),),
    )
    made = Version("default", number, claimed.id, None, tiny_version.METRICS, verdict, 1.5, "0" * 64, datetime.now(UTC))
    service.database.record_version(made, attempt=1, promote=promote)
    return made


@pytest.mark.parametrize(("record", "message"), SAME_FIELDS, ids=lambda one: getattr(one, "__name__", ""))
def test_messages_have_the_fields_of_rest(record: type, message: type[Message]) -> None:
    assert {field.name for field in message.DESCRIPTOR.fields} == {field.name for field in fields(record)}


def test_models_are_made_listed_and_removed(learning: Learning, rest: httpx.Client) -> None:
    made = learning.CreateModel(v1.CreateModelRequest(name="fruit", classes=["pear", "plum"]))
    assert (made.name, list(made.classes), made.HasField("live_version")) == ("fruit", ["pear", "plum"], False)
    shown = rest.get("/models/fruit").json()
    assert made.created_at.ToDatetime(UTC) == datetime.fromisoformat(shown["created_at"])
    assert learning.GetModel(v1.GetModelRequest(name="fruit")) == made
    assert learning.GetModel(v1.GetModelRequest()).name == "default"
    listed = learning.ListModels(v1.ListModelsRequest()).models
    assert [one.name for one in listed] == ["default", "empty", "fruit"]
    assert learning.PinModel(v1.PinModelRequest(name="fruit", pinned=True)).pinned
    assert learning.DeleteModel(v1.DeleteModelRequest(name="fruit")).name == "fruit"
    assert refused(learning.GetModel, v1.GetModelRequest(name="fruit")) == ("NOT_FOUND", "unknown_model")
    assert refused(learning.DeleteModel, v1.DeleteModelRequest()) == ("INVALID_ARGUMENT", "invalid_request")


def test_models_are_refused_as_in_rest(learning: Learning) -> None:
    def told(**changes: object) -> tuple[str, str]:
        return refused(learning.CreateModel, v1.CreateModelRequest(**changes))

    assert told(name="../x") == ("INVALID_ARGUMENT", "invalid_request")
    assert told(name="fruit", classes=["pear"]) == ("INVALID_ARGUMENT", "invalid_request")
    assert told(name="fruit", classes=["pear", "a\x00b"]) == ("INVALID_ARGUMENT", "invalid_request")
    assert told(classes=["pear", "plum"]) == ("FAILED_PRECONDITION", "classes_fixed")


def test_a_stream_of_examples_is_answered_one_by_one(service: RunningService, learning: Learning) -> None:
    messages = [
        *labelled("apple", 1),
        *labelled("pear", 2),
        v1.AddExampleRequest(label="apple", data=b"hello", file="notes.txt"),
        *labelled("apple", 1),
        *labelled("orange", 1),
        *labelled("orange", 200, bucket="holdout"),
    ]
    answer = learning.AddExamples(iter(messages), timeout=20)
    codes = [one.error.code for one in answer.examples]
    assert codes == ["", "unknown_label", "invalid_image", "", "label_conflict", ""]
    first, _, third, again, _, last = answer.examples
    assert (first.id, first.duplicate, again.duplicate) == (again.id, False, True)
    assert (third.file, third.id) == ("notes.txt", "")
    assert (last.label, last.bucket) == ("orange", "holdout")
    assert set(service.storage.objects.values()) == {picture(1), picture(200)}


def test_a_stream_of_examples_fails_as_a_whole_for_what_is_no_image_s_fault(
    service: RunningService, learning: Learning
) -> None:
    def told(*messages: Message) -> tuple[str, str]:
        return refused(learning.AddExamples, iter(messages))

    assert told() == ("INVALID_ARGUMENT", "invalid_request")
    assert told(*labelled("pear", 1, 2)) == ("INVALID_ARGUMENT", "unknown_label")
    assert told(*labelled("apple", 1, bucket="train")) == ("INVALID_ARGUMENT", "invalid_request")
    assert told(*labelled("apple", 1, bucket="mine")) == ("INVALID_ARGUMENT", "invalid_request")
    assert told(*labelled("apple", 1, bucket="excluded")) == ("INVALID_ARGUMENT", "invalid_request")
    assert told(*labelled("apple", 1, group="x" * 64)) == ("INVALID_ARGUMENT", "invalid_request")
    assert told(*labelled("apple", 1, model="other")) == ("NOT_FOUND", "unknown_model")
    assert told(*labelled("apple", 1, model="empty")) == ("FAILED_PRECONDITION", "classes_not_declared")
    service.storage.error = StorageFull("Full.")
    assert told(*labelled("apple", 1)) == ("RESOURCE_EXHAUSTED", "storage_full")
    assert service.storage.objects == {}


def test_images_of_a_group_share_its_bucket(learning: Learning) -> None:
    messages = [*labelled("apple", *range(20), group="camera-3"), *labelled("orange", *range(20, 40), group="camera 4")]
    learning.AddExamples(iter(messages), timeout=20)
    rows = learning.ListExamples(v1.ListExamplesRequest()).examples
    assert [one.group_id for one in rows] == ["camera-3"] * 20 + ["camera 4"] * 20
    assert len({one.bucket for one in rows[:20]}) == len({one.bucket for one in rows[20:]}) == 1
    assert not any(one.settled or one.bucket_named for one in rows)


def test_examples_are_listed_in_pages_and_deleted(learning: Learning, rest: httpx.Client) -> None:
    learning.AddExamples(iter(labelled("apple", 1, 2, 3)), timeout=20)
    first = learning.ListExamples(v1.ListExamplesRequest(limit=2))
    rows = rest.get("/examples", params={"limit": 2}).json()
    assert (first.examples[0].width, first.next) == (16, rows["next"])
    assert [plain(one) for one in first.examples] == [
        {name: value for name, value in row.items() if value is not False} | {"size_bytes": str(row["size_bytes"])}
        for row in rows["examples"]
    ]
    assert sum(count.count for count in first.counts) == 3
    rest_of_it = learning.ListExamples(v1.ListExamplesRequest(limit=2, after=first.next))
    assert ([one.file for one in rest_of_it.examples], rest_of_it.next) == (["3.png"], "")
    assert not learning.ListExamples(v1.ListExamplesRequest(label="orange")).examples
    for bad in ({"limit": -1}, {"limit": 1001}, {"bucket": "x"}, {"after": "x" * 65}, {"label": "\x00"}):
        asked = v1.ListExamplesRequest(**bad)
        assert refused(learning.ListExamples, asked) == ("INVALID_ARGUMENT", "invalid_request")
    deleted = learning.DeleteExample(v1.DeleteExampleRequest(id=first.examples[0].id))
    assert (deleted.example.file, len(deleted.trained_versions)) == ("1.png", 0)
    asked = v1.DeleteExampleRequest(id=first.examples[0].id)
    assert refused(learning.DeleteExample, asked) == ("NOT_FOUND", "unknown_example")


def test_a_job_is_started_shown_and_cancelled(learning: Learning, rest: httpx.Client) -> None:
    fill(learning)
    recipe = v1.Recipe(backbone="Compact", head_epochs=0, tail_epochs=3, learning_rate=0.01, keep="best")
    asked = v1.StartJobRequest(recipe=recipe, gate_policy="always", idempotency_key="one")
    job = learning.StartJob(asked)
    assert (job.state, job.gate_policy, job.idempotency_key, job.progress.step) == ("queued", "always", "one", "queued")
    assert (job.recipe.head_epochs, job.recipe.tail_epochs, job.recipe.keep) == (0, 3, "best")
    assert (job.recipe.HasField("alpha"), job.HasField("started_at"), job.HasField("verdict")) == (False, False, False)
    assert learning.StartJob(asked).id == job.id
    assert learning.GetJob(v1.GetJobRequest(id=job.id)) == job
    assert [one.id for one in learning.ListJobs(v1.ListJobsRequest(limit=5)).jobs] == [job.id]
    assert rest.get(f"/jobs/{job.id}").json()["recipe"]["learning_rate"] == job.recipe.learning_rate
    assert learning.CancelJob(v1.CancelJobRequest(id=job.id)).state == "cancelled"
    assert refused(learning.GetJob, v1.GetJobRequest(id="x")) == ("NOT_FOUND", "unknown_job")
    assert refused(learning.GetJob, v1.GetJobRequest(id="a\x00")) == ("INVALID_ARGUMENT", "invalid_request")
    assert (job.dry_run, learning.StartJob(v1.StartJobRequest(dry_run=True)).dry_run) == (False, True)
    changed = v1.StartJobRequest(idempotency_key="one")
    assert refused(learning.StartJob, changed) == ("FAILED_PRECONDITION", "idempotency_conflict")


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": v1.Recipe(head_epochs=10**9)},
        {"recipe": v1.Recipe(learning_rate=float("nan"))},
        {"recipe": v1.Recipe(batch_size=0)},
        {"recipe": v1.Recipe(keep="first")},
        {"recipe": v1.Recipe(weights="/etc/passwd")},
        {"gate_policy": "never"},
        {"idempotency_key": "x" * 1000},
        {"idempotency_key": "ä"},
    ],
    ids=str,
)
def test_a_bad_job_is_refused(learning: Learning, changes: dict[str, object]) -> None:
    assert refused(learning.StartJob, v1.StartJobRequest(**changes)) == ("INVALID_ARGUMENT", "invalid_request")


def test_a_job_needs_images(learning: Learning) -> None:
    assert refused(learning.StartJob, v1.StartJobRequest()) == ("INVALID_ARGUMENT", "invalid_dataset")
    empty = v1.StartJobRequest(model="empty")
    assert refused(learning.StartJob, empty) == ("FAILED_PRECONDITION", "classes_not_declared")


def test_a_job_is_watched_to_its_end(service: RunningService, learning: Learning) -> None:
    fill(learning)
    job = learning.StartJob(v1.StartJobRequest())
    states = learning.WatchJob(v1.WatchJobRequest(id=job.id), timeout=60)
    assert next(states).state == "queued"
    claimed = service.database.claim_job(owner="test", lease_s=60, max_attempts=3)
    assert claimed is not None
    assert next(states).state == "running"
    epoch = Epoch(1, "head", 0.5, 0.8, 0.6, 0.7, 1.5)
    service.database.report_progress(claimed.id, attempt=1, progress=Progress("train", 0.5, 3.0, history=(epoch,)))
    shown = next(states).progress
    assert (shown.step, shown.eta_s, shown.history[0].validation_loss) == ("train", 3.0, 0.6)
    service.database.end_job(claimed.id, attempt=1, state=JobState.CANCELLED, failure=None)
    assert [one.state for one in states] == ["cancelled"]


def test_watching_outlasts_the_database_and_ends_with_the_service(
    service: RunningService, learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(learning)
    job = learning.StartJob(v1.StartJobRequest())
    looked = threading.Event()

    def away(*_: object) -> Job:
        looked.set()
        raise DatabaseUnavailable("The database is locked.")

    states = learning.WatchJob(v1.WatchJobRequest(id=job.id), timeout=60)
    assert next(states).state == "queued"
    monkeypatch.setattr(service.core.learning, "job", away)
    assert looked.wait(20)
    monkeypatch.undo()
    service.stop()
    with pytest.raises(grpc.RpcError) as caught:
        list(states)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(caught.value.trailing_metadata())["ripen-error-code"] == "draining"


def test_versions_are_shown_promoted_and_rolled_back(
    service: RunningService, learning: Learning, rest: httpx.Client
) -> None:
    fill(learning)
    for number in (1, 2, 3):
        publish(service, number, promote=number < 3)
    answer = learning.ListVersions(v1.ListVersionsRequest())
    assert (answer.live, answer.aspired, [one.version for one in answer.versions]) == (2, 2, [3, 2, 1])
    shown = rest.get("/versions").json()
    assert [one.state for one in answer.versions] == [one["state"] for one in shown["versions"]]
    assert [one.kind for one in answer.history] == ["gate", "gate"]
    newest = answer.versions[0]
    assert (newest.status.error_code, newest.HasField("parent"), newest.HasField("pruned_at")) == (
        "INTERNAL",
        False,
        False,
    )
    assert newest.metrics.accuracy == tiny_version.METRICS.accuracy

    change = learning.PromoteVersion(v1.PromoteVersionRequest(version=3, reason="looked at"))
    assert (change.version, change.replaced, change.kind, change.reason) == (3, 2, "manual", "looked at")
    assert learning.RollBack(v1.RollBackRequest()).version == 2
    assert learning.PinVersion(v1.PinVersionRequest(version=1, pinned=True)).pinned
    assert refused(learning.DeleteVersion, v1.DeleteVersionRequest(version=1))[1] == "version_in_use"
    for number, code in (
        (0, "INVALID_ARGUMENT"),
        (-1, "INVALID_ARGUMENT"),
        (2**40, "INVALID_ARGUMENT"),
        (9, "NOT_FOUND"),
    ):
        assert refused(learning.PromoteVersion, v1.PromoteVersionRequest(version=number, reason="x"))[0] == code
    blank = v1.PromoteVersionRequest(version=1, reason=" ")
    assert refused(learning.PromoteVersion, blank) == ("INVALID_ARGUMENT", "invalid_request")


def test_a_version_comes_with_its_manifest(service: RunningService, learning: Learning, tmp_path: Path) -> None:
    fill(learning)
    version = publish(service, 1)
    tiny_version.make(tmp_path / "made", number=1, bias=0.5)
    service.storage.publish_folder(tmp_path / "made", version.storage_key)
    shown = learning.GetVersion(v1.GetVersionRequest(version=1))
    assert list(shown.manifest["classes"]) == list(CLASSES)
    assert shown.manifest["recipe"]["dense_units"] == 256
    assert refused(learning.GetVersion, v1.GetVersionRequest(version=7)) == ("NOT_FOUND", "unknown_version")


def test_learning_calls_are_counted(service: RunningService, learning: Learning) -> None:
    learning.GetModel(v1.GetModelRequest())
    series = 'ripen_requests_total{code="OK",method="GetModel",model="default",protocol="grpc"'
    assert service.metric(series) == 1
