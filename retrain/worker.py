"""Claims jobs and sees each through in a child process. LINE B step 2. Small: never imports Keras or TensorFlow."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from contract.errors import LeaseLost, NotFound, RipenError, TrainingFailed, Unavailable
from contract.ports import Database, JobEngine, RunningJob, Storage
from contract.records import Failure, Job, JobState
from retrain.retention import Retention
from retrain.workplace import Workplace, all_workplaces

LOG = logging.getLogger(__name__)
POLL_S = 0.25
POLLS_PER_CANCELLATION = 4  # how often a busy worker ends the cancelled jobs of lost ones
STOP_GRACE_S = 2.0
TRY_AGAIN = 75  # exit status EX_TEMPFAIL: the job's process could not reach the database to record its end
MAX_BACK_OFF_S = 10.0


@dataclass(frozen=True)
class Claiming:
    """Who claims, for how long without a heartbeat, and how often one job."""

    owner: str
    lease_s: float
    max_attempts: int


class Worker:
    """One job at a time, until it is told to stop."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        *,
        engine: JobEngine,
        home: Path,
        claiming: Claiming,
        retention: Retention,
    ) -> None:
        self._database = database
        self._storage = storage
        self._engine = engine
        self._home = home
        self._claiming = claiming
        self._retention = retention
        self._polls_per_beat = max(1, round(claiming.lease_s / 4 / POLL_S))
        self._kept: set[Path] = set()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let `run` return soon; safe in a signal handler and from any thread."""
        self._stopping.set()

    def run(self) -> None:
        """Claim and do jobs until `stop`. A database or a storage that is away is waited for."""
        back_off_s = POLL_S
        while not self._stopping.is_set():
            try:
                worked = self.do_next()
                back_off_s = POLL_S
                if not worked:
                    self._retention.run_if_due()
                    self._stopping.wait(POLL_S)
            except Exception as error:  # whatever it is, the next job may go better
                LOG.warning("waiting %.1f s", back_off_s, exc_info=None if isinstance(error, RipenError) else error)
                LOG.warning("%s: %s", type(error).__name__, error)
                self._stopping.wait(back_off_s)
                back_off_s = min(2 * back_off_s, MAX_BACK_OFF_S)

    def do_next(self) -> bool:
        """Claim one job and see it through; False where there is none."""
        self._sweep()
        job = self._database.claim_job(
            owner=self._claiming.owner, lease_s=self._claiming.lease_s, max_attempts=self._claiming.max_attempts
        )
        if job is None:
            return False
        LOG.info("job %s of model %s: attempt %d", job.id, job.model, job.attempt)
        try:
            self._see_through(job, self._engine.launch(job))
        except LeaseLost as error:  # also in the moment between a job's own end and its process's
            LOG.info("job %s: %s", job.id, error)
        except TrainingFailed as error:
            failure = Failure(error.code, error.message)
            self._database.end_job(job.id, attempt=job.attempt, state=JobState.FAILED, failure=failure)
        finally:
            self._clean_up(Workplace(self._home, job.id))
            self._retention.hasten()
        return True

    def _see_through(self, job: Job, running: RunningJob) -> None:
        try:
            status = self._wait(job, running)
        finally:
            running.stop(grace_s=STOP_GRACE_S)  # also what a child that ended may have left of its group
        if self._stopping.is_set() and status is None:
            self._database.release_job(job.id, attempt=job.attempt)
            LOG.info("job %s: stopped half-way; it will be claimed again", job.id)
            return
        self._close(job, status)

    def _wait(self, job: Job, running: RunningJob) -> int | None:
        """Heartbeat until the child ends (its exit status), or has to be ended (None)."""
        turn = 0
        while (status := running.poll()) is None and not self._stopping.wait(POLL_S):
            turn += 1
            try:
                if self._cancelled(job, turn):
                    return None
            except Unavailable as error:  # a database that is away for a while is not the job's fault
                LOG.warning("job %s: no heartbeat: %s", job.id, error)
        return status

    def _cancelled(self, job: Job, turn: int) -> bool:
        """Whether its cancellation was asked for; in some turns also a heartbeat, or the end of cancelled others."""
        if turn % self._polls_per_beat == 0:
            job = self._database.heartbeat(job.id, attempt=job.attempt, lease_s=self._claiming.lease_s)
        else:
            job = self._database.get_job(job.model, job.id)
        if turn % POLLS_PER_CANCELLATION == 0:
            self._database.end_expired_cancellations()
        return job.cancel_requested

    def _close(self, job: Job, status: int | None) -> None:
        """Record the end of a job whose process is gone, unless it recorded its own."""
        try:
            now = self._database.get_job(job.model, job.id)
        except NotFound:
            LOG.info("job %s: deleted with its model", job.id)
            return
        if now.state is not JobState.RUNNING or now.attempt != job.attempt:
            LOG.info("job %s: %s", job.id, now.state)
            return
        if status == TRY_AGAIN:
            LOG.warning("job %s could not record its end; it is claimed again after its lease", job.id)
            return
        Workplace(self._home, job.id).remove(self._database, self._storage)  # before anybody sees the end
        if now.cancel_requested:
            state, failure = JobState.CANCELLED, None
        else:
            state, failure = JobState.FAILED, Failure("job_crashed", _describe_death(status))
        self._database.end_job(job.id, attempt=job.attempt, state=state, failure=failure)
        LOG.warning("job %s: %s %s", job.id, state, failure or "")

    def _sweep(self) -> None:
        """Remove what jobs left that somebody else ended, for example when an earlier worker was killed."""
        for workplace in all_workplaces(self._home):
            self._clean_up(workplace)

    def _clean_up(self, workplace: Workplace) -> None:
        try:
            workplace.remove_if_ended(self._database, self._storage)
        except RipenError as error:
            if workplace.folder not in self._kept:  # it is tried again at every turn; said once is enough
                LOG.warning("the work folder %s stays for now: %s", workplace.folder, error)
            self._kept.add(workplace.folder)
        else:
            self._kept.discard(workplace.folder)


def _describe_death(status: int | None) -> str:
    if status is not None and status < 0:
        return (
            f"The training process was killed by signal {-status}; with signal 9 often for want of memory. Try a "
            "smaller batch_size or image_size, or a smaller backbone."
        )
    return f"The training process ended with exit status {status} before the job had ended; the worker's log says more."
