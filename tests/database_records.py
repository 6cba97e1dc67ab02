"""Rows for database tests, with only what matters named."""

import itertools
from datetime import UTC, datetime, timedelta

from contract.comparison import Comparison, Difference
from contract.ports import Database
from contract.recipe import Recipe
from contract.records import Bucket, Decision, Example, GatePolicy, Job, JobState, Metrics, Progress, Verdict, Version

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
METRICS = Metrics(
    count=40,
    accuracy=0.9,
    log_loss=0.3,
    auc=None,
    precision=1.0,
    recall=0.8,
    true_positive=16,
    false_positive=0,
    true_negative=20,
    false_negative=4,
)
COMPARED = Comparison("all", 40, True, False, 0.9, 0.85, 4, 2, 0.6875, Difference(-0.1, -0.2, 0.01), None)
VERDICT = Verdict(
    Decision.PROMOTE,
    GatePolicy.ALWAYS,
    ("it was asked for", "it is better"),
    METRICS,
    comparisons=(COMPARED, Comparison("fresh", 3, False, False, 1.0, 1.0, 0, 0)),
    more_images=120,
)
_serial = itertools.count(1)


class Clock:
    """Seconds since the epoch that pass only when a test says so."""

    def __init__(self) -> None:
        self.time = START.timestamp()

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


def example(model: str = "fruit", *, digest: str = "", label: str = "apple", bucket: Bucket = Bucket.TRAIN) -> Example:
    """An example whose id is greater than those made before."""
    number = next(_serial)
    digest = digest or f"{number:064x}"
    return Example(
        id=f"{number:024x}",
        model=model,
        digest=digest,
        label=label,
        bucket=bucket,
        group_id=digest,
        file="näme \U0001f34e.jpg",
        format="JPEG",
        width=640,
        height=480,
        size_bytes=25_000,
        created_at=START,
        contributor="shop",
        trusted=False,
    )


def job(model: str = "fruit", *, key: str | None = None, recipe: Recipe | None = None) -> Job:
    """A queued job, newer than those made before."""
    number = next(_serial)
    return Job(
        id=f"{number:032x}",
        model=model,
        state=JobState.QUEUED,
        recipe=recipe or Recipe(),
        gate_policy=GatePolicy.NOT_WORSE,  # of an earlier release; it is kept as it was
        progress=Progress(),
        created_at=START + timedelta(microseconds=number),
        idempotency_key=key,
    )


def claimed(database: Database, *, model: str = "fruit", lease_s: float = 10) -> Job:
    """A new job of the model, claimed; nothing else may wait."""
    queued, _ = database.create_job(job(model))
    running = database.claim_job(owner="worker", lease_s=lease_s, max_attempts=3)
    assert running is not None
    assert running.id == queued.id
    return running


def version(of: Job, number: int) -> Version:
    """A version that the job could publish."""
    return Version(
        model=of.model,
        number=number,
        job_id=of.id,
        parent=None,
        metrics=METRICS,
        verdict=VERDICT,
        training_seconds=12.5,
        manifest_sha256="ab" * 32,
        created_at=START,
    )


def published(database: Database, *, model: str = "fruit", promote: bool = False) -> Version:
    """A recorded version of a new job."""
    running = claimed(database, model=model)
    made = version(running, database.allocate_version(running.id, attempt=running.attempt))
    database.record_version(made, attempt=running.attempt, promote=promote)
    return made
