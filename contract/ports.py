"""The outside world as Ripen sees it: object storage, database, job engine, model runtime. Both lines.

A port is its test suite: every implementation and every fake passes `tests/<port>_suite.py`. Everything here
is synchronous and safe to call from several threads; asynchronous callers use a worker thread.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from contract.images import Pixels
from contract.keys import LOCAL_ACTOR, ApiKey, AuditEntry
from contract.records import (
    Aspiration,
    Bucket,
    ChangeKind,
    Example,
    ExampleCount,
    Failure,
    Job,
    JobState,
    LiveChange,
    Model,
    Progress,
    StoredObject,
    Version,
)

RESTORE_MARK = "restore-unfinished"  # an object that is there while a restore fills storage and database


class Storage(Protocol):
    """Objects under keys such as `examples/<model>/ab/abcd...`, and published folders under `models/<model>/<number>`.

    Keys use `/`, no leading slash, no `.` or `..` parts (InvalidRequest). `put` is atomic: a reader sees the old
    object, the new one or none, never a part. Errors: StorageUnavailable, StorageFull.
    """

    def put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, replacing what was there. Called for each new example."""

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None where there is no such key."""

    def delete(self, key: str) -> None:
        """Remove one object; a missing key is no error."""

    def publish_folder(self, source: Path, key: str) -> None:
        """Move a finished local folder to `key` so that readers see all of it or nothing; `source` is gone afterwards.

        Raises:
            Conflict: something is published under `key` already.
        """

    def local_folder(self, key: str) -> Path:
        """A published folder as a local path: the folder itself where storage is local, a downloaded copy elsewhere.

        Raises:
            UnknownVersion: nothing is published under `key`.
        """

    def delete_folder(self, key: str) -> None:
        """Remove a published folder and any local copy; a missing one is no error."""

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below `prefix` (a key without its last parts), the files of published folders among them."""

    def free_bytes(self) -> int | None:
        """How much may still be written, or None where nobody can say (a bucket)."""

    def sweep(self, *, keep: frozenset[str], older_than_s: float) -> int:
        """Remove leftovers: staging of killed writes, and local copies of folders whose keys are not in `keep`.

        Only what is older than `older_than_s`; returns how many bytes that freed. Called about once an hour.
        """

    def check(self) -> None:
        """Write, read and delete a probe object. Raises StorageUnavailable that says what cannot be done and where."""


class Database(Protocol):
    """Models, examples, jobs, versions and what should be live. Each method is one transaction.

    Names that do not exist raise UnknownModel, UnknownExample, UnknownJob or UnknownVersion. A database that cannot be
    reached or stays locked raises DatabaseUnavailable. Methods that take `attempt` are fenced: once the job has been
    claimed again, has ended or its cancellation won, they raise LeaseLost and change nothing.
    """

    def migrate(self) -> None:
        """Bring the schema to this code's version; safe to call from several processes at once."""

    def check_schema(self) -> None:
        """Raise DatabaseUnavailable unless the schema is this code's; changes nothing."""

    def close(self) -> None:
        """Give back all connections."""

    # Models
    def create_model(self, name: str, classes: tuple[str, str] | None, *, actor: str = LOCAL_ACTOR) -> Model:
        """Create the model, or return it where it exists. Declares its classes where it had none.

        Raises:
            ClassesFixed: it exists with other classes or in another order.
        """

    def get_model(self, name: str) -> Model: ...

    def list_models(self) -> list[Model]: ...

    def pin_model(self, name: str, *, pinned: bool, actor: str = LOCAL_ACTOR) -> Model:
        """Keep the model's engine loaded whatever the memory budget says, or no longer."""

    def delete_model(self, name: str, *, actor: str = LOCAL_ACTOR) -> Model:
        """Remove the model with all its examples, jobs, versions and changes; the audit log stays. Returns what it was.

        Raises:
            JobRunning: a job of it is queued or running; cancel that first.
        """

    # Examples
    def add_example(self, example: Example) -> tuple[Example, bool]:
        """Store a row and return (it, True); or (the stored one, False) where the same digest is there already.

        Raises:
            LabelConflict: the same digest is there under another label.
        """

    def list_examples(
        self,
        model: str,
        *,
        label: str | None = None,
        bucket: Bucket | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[Example]:
        """Rows ordered by id (ids grow with time); `after` is the last id of the page before."""

    def get_example(self, model: str, example_id: str) -> Example: ...

    def delete_example(self, model: str, example_id: str, *, actor: str = LOCAL_ACTOR) -> Example:
        """Remove the row and return it."""

    def count_examples(self) -> list[ExampleCount]:
        """Counts per model, label and bucket, of all models."""

    def settle_examples(self, job_id: str, *, attempt: int, examples: Iterable[Example]) -> None:
        """Write bucket and group of images of the job's model that no job has read before, for good. Fenced.

        One that is settled already, or was deleted meanwhile, stays as it is.
        """

    # Jobs
    def create_job(self, job: Job) -> tuple[Job, bool]:
        """Queue a job and return (it, True); or (the earlier one, False) where its idempotency key is known.

        Raises:
            IdempotencyConflict: the key came before with another recipe or policy.
        """

    def get_job(self, model: str, job_id: str) -> Job: ...

    def list_jobs(self, model: str, *, limit: int = 100) -> list[Job]:
        """Newest first."""

    def count_jobs(self) -> dict[tuple[str, JobState], int]:
        """Jobs per model and state."""

    def claim_job(self, *, owner: str, lease_s: float, max_attempts: int) -> Job | None:
        """Take the oldest job that may run, or None.

        A job may run if it is queued, or running with an expired lease; and no other job of its model is running. Its
        `attempt` is one higher afterwards. A job whose attempts are used up and whose worker was lost fails instead,
        and one whose cancellation was asked for is cancelled instead.
        """

    def end_expired_cancellations(self) -> None:
        """Cancel each running job whose cancellation was asked for and whose lease has expired.

        Called about once a second by a worker that is busy with another job, so that a cancellation never waits for it.
        """

    def heartbeat(self, job_id: str, *, attempt: int, lease_s: float) -> Job:
        """Extend the lease and return the job; if its `cancel_requested` is set, the lease stays as it was. Fenced."""

    def release_job(self, job_id: str, *, attempt: int) -> None:
        """Give a running job back, to be claimed again at once, however often it was claimed before. Fenced."""

    def report_progress(self, job_id: str, *, attempt: int, progress: Progress) -> None:
        """Replace the job's progress. Fenced."""

    def request_cancel(self, model: str, job_id: str) -> Job:
        """Cancel a queued job at once; mark a running one, for its worker to end it. Cancelled stays cancelled.

        A marked job's lease ends within 3 s, so that a lost worker does not delay the cancellation.

        Raises:
            JobFinished: it succeeded or failed before.
        """

    def end_job(self, job_id: str, *, attempt: int, state: JobState, failure: Failure | None) -> Job:
        """Set FAILED or CANCELLED. Fenced."""

    # Versions
    def allocate_version(self, job_id: str, *, attempt: int) -> int:
        """The model's next version number, never given twice. Fenced."""

    def record_version(self, version: Version, *, attempt: int, promote: bool) -> Job:
        """Store a published version and end its job as SUCCEEDED; with `promote`, make it live too. Fenced.

        Where meanwhile another version than the verdict's `live_version` went live, and the policy is not `always`, it
        is stored without going live: its verdict becomes INCONCLUSIVE and says so.
        """

    def get_version(self, model: str, number: int) -> Version: ...

    def list_versions(self, model: str) -> list[Version]:
        """Newest first."""

    def pin_version(self, model: str, number: int, *, pinned: bool, actor: str = LOCAL_ACTOR) -> Version:
        """Keep the version from being pruned, or no longer. Raises VersionPruned where it is too late."""

    def prune_version(self, model: str, number: int, *, actor: str = LOCAL_ACTOR) -> Version:
        """Mark the version as pruned, before whoever asked removes its folder; a pruned one stays as it is.

        Raises:
            VersionInUse: it is live, a rollback would bring it back, it is pinned, or a running job may measure it.
        """

    # What should be live
    def promote(
        self, model: str, number: int, *, kind: ChangeKind, reason: str, actor: str = LOCAL_ACTOR
    ) -> LiveChange:
        """Declare a recorded version live. Declaring the live one again changes nothing but is recorded.

        Raises:
            VersionPruned: its files are gone.
        """

    def rollback(self, model: str, *, reason: str, actor: str = LOCAL_ACTOR, live: int | None = None) -> LiveChange:
        """Declare the version live that the present one replaced; a second rollback goes one further back.

        Pruned versions are stepped over. `live` makes it depend on that version's being the live one still.

        Raises:
            NothingToRollBack: no version was live before the present one; or another one than `live` is live now.
        """

    def list_live_changes(self, model: str, *, limit: int = 100) -> list[LiveChange]:
        """Newest first."""

    def aspirations(self) -> list[Aspiration]:
        """What should be live now, per model that has a live version. Called several times a second."""

    # Keys and the audit log. Every method with an `actor` writes its audit line in its own transaction.
    def add_key(self, key: ApiKey, *, actor: str = LOCAL_ACTOR) -> None:
        """Store a key.

        Raises:
            TooManyKeys: its client has two keys that are neither revoked nor expired.
        """

    def list_keys(self) -> list[ApiKey]:
        """All keys, newest first, those revoked and expired too."""

    def revoke_key(self, key_id: str, *, actor: str = LOCAL_ACTOR) -> ApiKey:
        """Revoke a key for good; a revoked one stays as it is. Raises UnknownKey."""

    def list_audit(self, *, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
        """Newest first; `before` is the last sequence number of the page before."""

    def check_audit(self) -> int | None:
        """The first line of the audit log that was altered, or after which one is missing; None: it is whole."""

    # Backup
    def export_rows(self) -> Iterator[tuple[str, bytes]]:
        """All rows as (table, JSON object), from one snapshot; first ("schema", {"revision": ...})."""

    def import_rows(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Fill an empty, migrated database with exported rows, all of them or none.

        Raises:
            NotEmpty: there are rows already.
            InvalidRequest: rows of a newer schema than this code's, or no rows of ours.
        """

    def now(self) -> datetime:
        """The clock that leases are measured by, in UTC."""


class RunningJob(Protocol):
    """One job's process group."""

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    def stop(self, *, grace_s: float) -> None:
        """Ask the whole group to end, kill it after `grace_s` seconds, and return when it is gone."""


class JobEngine(Protocol):
    """Runs `python -m retrain run JOB_ID --attempt N` somewhere: a local process now."""

    def launch(self, job: Job) -> RunningJob: ...


class Runtime(Protocol):
    """One loaded version. `name` is `<runtime>-<precision>`, a key of the manifest's golden probabilities.

    `workers` threads decode and infer, each with a seat of its own; `streams` of them infer at full speed. The
    `batch_sizes` are warmed up in their order, and the fastest of them is used. `clock` is what its speed is measured
    with: one that stands still while the process is paused, where there is one. `notes` say why it is not faster.
    """

    name: str
    notes: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    clock: Callable[[], float]
    workers: int
    streams: int

    def seat(self) -> "Seat":
        """What one thread infers with."""


class Seat(Protocol):
    """One thread's place at a runtime."""

    def infer(self, images: Pixels, *, alone: bool) -> Iterable[float]:
        """(N, H, W, 3) uint8 -> (N,) float32 in [0, 1], P(`classes[1]`); `alone`: no other thread infers just now."""
