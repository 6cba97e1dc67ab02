"""The SQL database: models, examples, jobs, versions and what should be live. Both lines meet here.

Each method is one transaction; the SQL of each noun is in its own `database_*.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from backends import (
    database_audit,
    database_jobs,
    database_keys,
    database_live,
    database_models,
    database_publication,
    database_rows,
    database_versions,
)
from backends.database_connection import SqlConnections
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
    Version,
)


class SqlDatabase:
    """`contract.ports.Database` over SQLAlchemy Core: SQLite in one file, or a PostgreSQL server.

    Args:
        url: an SQLAlchemy URL, `sqlite:////srv/ripen/ripen.db` or `postgresql://user:password@host/database`.
        clock: seconds since the epoch; leases are measured by it. None: this machine's with SQLite, the server's with
            PostgreSQL, whose clients may run on several machines.

    Raises:
        InvalidSetting: the URL cannot be used.
    """

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self._connections = SqlConnections(url)
        self._clock = clock or self._connections.clock

    def migrate(self) -> None:
        """Bring the schema to this code's version, making the file and its folder where there are none."""
        self._connections.migrate()

    def check_schema(self) -> None:
        """Raise DatabaseUnavailable unless the schema is this code's."""
        self._connections.check_schema()

    def close(self) -> None:
        """Give back all connections."""
        self._connections.close()

    def now(self) -> datetime:
        """The clock that leases are measured by."""
        return datetime.fromtimestamp(self._clock(), UTC)

    # Models
    def create_model(self, name: str, classes: tuple[str, str] | None, *, actor: str = LOCAL_ACTOR) -> Model:
        """Create the model, or return it; declare its classes where it had none."""
        with self._connections.write() as connection:
            return database_models.create_model(connection, name, classes, actor=actor, now=self.now())

    def get_model(self, name: str) -> Model:
        """The model of that name."""
        with self._connections.read() as connection:
            return database_models.get_model(connection, name)

    def list_models(self) -> list[Model]:
        """All models by name."""
        with self._connections.read() as connection:
            return database_models.list_models(connection)

    def pin_model(self, name: str, *, pinned: bool, actor: str = LOCAL_ACTOR) -> Model:
        """Keep the model's engine loaded, or no longer."""
        with self._connections.write() as connection:
            return database_models.pin_model(connection, name, pinned=pinned, actor=actor, now=self.now())

    def delete_model(self, name: str, *, actor: str = LOCAL_ACTOR) -> Model:
        """Remove the model with all its rows; return what it was."""
        with self._connections.write() as connection:
            return database_models.delete_model(connection, name, actor=actor, now=self.now())

    # Examples
    def add_example(self, example: Example) -> tuple[Example, bool]:
        """Store a row, or find the one with the same digest."""
        with self._connections.write() as connection:
            return database_models.add_example(connection, example)

    def list_examples(
        self,
        model: str,
        *,
        label: str | None = None,
        bucket: Bucket | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[Example]:
        """Rows by id, after the id `after`."""
        with self._connections.read() as connection:
            return database_models.list_examples(
                connection, model, label=label, bucket=bucket, limit=limit, after=after
            )

    def get_example(self, model: str, example_id: str) -> Example:
        """One example of the model."""
        with self._connections.read() as connection:
            return database_models.get_example(connection, model, example_id)

    def delete_example(self, model: str, example_id: str, *, actor: str = LOCAL_ACTOR) -> Example:
        """Remove the row and return it."""
        with self._connections.write() as connection:
            return database_models.delete_example(connection, model, example_id, actor=actor, now=self.now())

    def count_examples(self) -> list[ExampleCount]:
        """Counts per model, label and bucket."""
        with self._connections.read() as connection:
            return database_models.count_examples(connection)

    def settle_examples(self, job_id: str, *, attempt: int, examples: Iterable[Example]) -> None:
        """Write bucket and group of images that no job has read before, for good."""
        with self._connections.write() as connection:
            job = database_jobs.owned_job(connection, job_id, attempt=attempt, heed_cancel=True)
            database_models.settle_examples(connection, job.model, examples)

    # Jobs
    def create_job(self, job: Job) -> tuple[Job, bool]:
        """Queue a job, or find the earlier one of its idempotency key."""
        with self._connections.write() as connection:
            return database_jobs.create_job(connection, job)

    def get_job(self, model: str, job_id: str) -> Job:
        """One job of the model."""
        with self._connections.read() as connection:
            return database_jobs.get_job(connection, model, job_id)

    def list_jobs(self, model: str, *, limit: int = 100) -> list[Job]:
        """Newest first."""
        with self._connections.read() as connection:
            return database_jobs.list_jobs(connection, model, limit)

    def count_jobs(self) -> dict[tuple[str, JobState], int]:
        """Jobs per model and state."""
        with self._connections.read() as connection:
            return database_jobs.count_jobs(connection)

    def claim_job(self, *, owner: str, lease_s: float, max_attempts: int) -> Job | None:
        """Take the first job that may run: an interrupted one, else the oldest queued one."""
        with self._connections.write() as connection:
            return database_jobs.claim_job(
                connection, owner=owner, now=self.now(), lease_s=lease_s, max_attempts=max_attempts
            )

    def end_expired_cancellations(self) -> None:
        """Cancel what was to be cancelled and whose worker did not do it."""
        with self._connections.write() as connection:
            database_jobs.end_expired_cancellations(connection, self.now())

    def heartbeat(self, job_id: str, *, attempt: int, lease_s: float) -> Job:
        """Extend the lease, unless the job is to be cancelled, and return the job."""
        with self._connections.write() as connection:
            lease_expires = self.now() + timedelta(seconds=lease_s)
            return database_jobs.heartbeat(connection, job_id, attempt=attempt, lease_expires=lease_expires)

    def release_job(self, job_id: str, *, attempt: int) -> None:
        """Give the job back, to be claimed again at once."""
        with self._connections.write() as connection:
            database_jobs.release_job(connection, job_id, attempt=attempt, now=self.now())

    def report_progress(self, job_id: str, *, attempt: int, progress: Progress) -> None:
        """Replace the job's progress."""
        with self._connections.write() as connection:
            database_jobs.owned_job(connection, job_id, attempt=attempt, heed_cancel=True)
            database_jobs.change(connection, job_id, progress=progress)

    def request_cancel(self, model: str, job_id: str) -> Job:
        """Cancel a queued job at once; mark a running one."""
        with self._connections.write() as connection:
            return database_jobs.request_cancel(connection, model, job_id, self.now())

    def end_job(self, job_id: str, *, attempt: int, state: JobState, failure: Failure | None) -> Job:
        """Set FAILED or CANCELLED."""
        assert state in (JobState.FAILED, JobState.CANCELLED), "record_version is the way to succeed"
        with self._connections.write() as connection:
            job = database_jobs.owned_job(connection, job_id, attempt=attempt, heed_cancel=False)
            database_jobs.end(connection, job_id, state, self.now(), failure=failure)
            return database_jobs.get_job(connection, job.model, job_id)

    # Versions
    def allocate_version(self, job_id: str, *, attempt: int) -> int:
        """The model's next version number, never given twice."""
        with self._connections.write() as connection:
            return database_versions.allocate_version(connection, job_id, attempt=attempt)

    def record_version(self, version: Version, *, attempt: int, promote: bool) -> Job:
        """Store a version, end its job as SUCCEEDED, and make it live with `promote`: all of it or nothing."""
        with self._connections.write() as connection:
            database_publication.record_version(connection, version, attempt=attempt, promote=promote, now=self.now())
            return database_jobs.get_job(connection, version.model, version.job_id)

    def get_version(self, model: str, number: int) -> Version:
        """One version of the model."""
        with self._connections.read() as connection:
            return database_versions.get_version(connection, model, number)

    def list_versions(self, model: str) -> list[Version]:
        """Newest first."""
        with self._connections.read() as connection:
            return database_versions.list_versions(connection, model)

    def pin_version(self, model: str, number: int, *, pinned: bool, actor: str = LOCAL_ACTOR) -> Version:
        """Keep the version from being pruned, or no longer."""
        with self._connections.write() as connection:
            return database_versions.pin_version(connection, model, number, pinned=pinned, actor=actor, now=self.now())

    def prune_version(self, model: str, number: int, *, actor: str = LOCAL_ACTOR) -> Version:
        """Mark the version as pruned, unless somebody needs its files."""
        with self._connections.write() as connection:
            return database_publication.prune_version(connection, model, number, actor=actor, now=self.now())

    # What should be live
    def promote(
        self, model: str, number: int, *, kind: ChangeKind, reason: str, actor: str = LOCAL_ACTOR
    ) -> LiveChange:
        """Declare a recorded version live."""
        with self._connections.write() as connection:
            wanted = LiveChange(model, number, None, kind, reason, self.now())
            return database_live.make_live(connection, wanted, actor=actor)

    def rollback(self, model: str, *, reason: str, actor: str = LOCAL_ACTOR, live: int | None = None) -> LiveChange:
        """Declare the version live that the present one replaced, if `live` is still that one."""
        with self._connections.write() as connection:
            return database_live.rollback(connection, model, reason=reason, actor=actor, now=self.now(), expected=live)

    def list_live_changes(self, model: str, *, limit: int = 100) -> list[LiveChange]:
        """Newest first."""
        with self._connections.read() as connection:
            return database_live.list_live_changes(connection, model, limit)

    def aspirations(self) -> list[Aspiration]:
        """What should be live now, per model that has a live version."""
        with self._connections.read() as connection:
            return database_live.aspirations(connection)

    # Keys and the audit log
    def add_key(self, key: ApiKey, *, actor: str = LOCAL_ACTOR) -> None:
        """Store a key, unless its client has two live ones."""
        with self._connections.write() as connection:
            database_keys.add_key(connection, key, actor=actor, now=self.now())

    def list_keys(self) -> list[ApiKey]:
        """Newest first."""
        with self._connections.read() as connection:
            return database_keys.list_keys(connection)

    def revoke_key(self, key_id: str, *, actor: str = LOCAL_ACTOR) -> ApiKey:
        """Revoke a key for good."""
        with self._connections.write() as connection:
            return database_keys.revoke_key(connection, key_id, actor=actor, now=self.now())

    def list_audit(self, *, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
        """Newest first, before the line `before`."""
        with self._connections.read() as connection:
            return database_audit.list_audit(connection, limit=limit, before=before)

    def check_audit(self) -> int | None:
        """The first line of the audit log that does not fit, or None."""
        with self._connections.snapshot() as connection:
            return database_audit.check_audit(connection)

    # Backup
    def export_rows(self) -> Iterator[tuple[str, bytes]]:
        """All rows as (table, JSON object), from one snapshot."""
        with self._connections.snapshot() as connection:
            yield from database_rows.export_rows(connection)

    def import_rows(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Fill an empty database, wholly or not at all."""
        with self._connections.write() as connection:
            database_rows.import_rows(connection, rows)
