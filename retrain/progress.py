"""Tells the job's row how far the job is: step, epoch, losses, time left. All steps of LINE B."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from contract.errors import Unavailable
from contract.ports import Database
from contract.records import Job, Progress
from contract.training import Epoch

LOG = logging.getLogger(__name__)
INTERVAL_S = 0.25
STARTS = {
    "collect": 0.0,
    "split": 0.02,
    "cache": 0.08,
    "train": 0.25,
    "calibrate": 0.85,
    "judge": 0.86,
    "publish": 0.9,
    "aspire": 1.0,
}
AFTER_TRAINING_S = 28.0  # measured: judge, export, verify and convert MobileNetV2 on 2 cores


@dataclass(frozen=True)
class Moment:
    """Where a training is: `epoch` of `epochs`, from 1; `fraction` of all steps of all epochs done, in [0, 1]."""

    epoch: int
    epochs: int
    fraction: float


class Reporter:
    """Writes at most four times a second; every step and every epoch's end for certain."""

    def __init__(self, database: Database, job: Job, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._job = job
        self._clock = clock
        self._progress = Progress(step="collect")
        self._reported_s = -INTERVAL_S
        self._training_since_s: float | None = None
        self._step_since_s = clock()

    @property
    def history(self) -> tuple[Epoch, ...]:
        return self._progress.history

    def step(self, name: str, message: str) -> None:
        """Begin one of LINE B's steps."""
        self._step_since_s = self._clock()
        fraction = max(STARTS[name], self._progress.fraction)
        self._write(replace(self._progress, step=name, fraction=fraction, message=message, eta_s=None))

    def say(self, message: str) -> None:
        """Within a step that has no epochs."""
        LOG.info("job %s: %s", self._job.id, message)
        self._write(replace(self._progress, message=message))

    def warn(self, *messages: str) -> None:
        """Keep warnings with the job, for good."""
        if messages:
            self._write(replace(self._progress, warnings=(*self._progress.warnings, *messages)))

    def moment(self, moment: Moment) -> None:
        """Within an epoch."""
        self._progress = self._at(moment)
        self._write_now_and_then()

    def cached(self, done: int, count: int) -> None:
        """After each pass of new images through the frozen layers."""
        left_s = (self._clock() - self._step_since_s) * (count / done - 1)
        message = f"{done} of {count} new images through the frozen layers, {left_s:.0f} s left"
        share = STARTS["train"] - STARTS["cache"]
        self._progress = replace(self._progress, fraction=STARTS["cache"] + share * done / count, message=message)
        self._write_now_and_then()

    def epoch(self, epoch: Epoch, moment: Moment) -> None:
        """At an epoch's end."""
        progress = self._at(moment)
        validated = "" if epoch.validation_accuracy is None else f", tune accuracy {epoch.validation_accuracy:.3f}"
        message = f"{epoch.phase}: loss {epoch.loss:.3f}, accuracy {epoch.accuracy:.3f}{validated}"
        self._write(replace(progress, message=message, history=(*progress.history, epoch)))

    def _at(self, moment: Moment) -> Progress:
        now_s = self._clock()
        if self._training_since_s is None:
            self._training_since_s = now_s
        share = STARTS["judge"] - STARTS["train"]
        left = (now_s - self._training_since_s) * (1 / moment.fraction - 1) if moment.fraction else None
        return replace(
            self._progress,
            fraction=STARTS["train"] + share * moment.fraction,
            eta_s=None if left is None else round(left + AFTER_TRAINING_S, 1),
            epoch=moment.epoch,
            epochs=moment.epochs,
        )

    def _write_now_and_then(self) -> None:
        if self._clock() - self._reported_s >= INTERVAL_S:
            self._write(self._progress)

    def _write(self, progress: Progress) -> None:
        self._progress = progress
        self._reported_s = self._clock()
        try:
            self._database.report_progress(self._job.id, attempt=self._job.attempt, progress=progress)
        except Unavailable as error:  # a report is no reason to lose a training
            LOG.warning("job %s: progress is not reported: %s", self._job.id, error)
