"""Jobs as local processes: one process group per job, at the lowest priority. LINE B step 2.

The group dies with its job: what a training leaves behind would go on eating the CPU that serving needs.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from contract.errors import TrainingFailed
from contract.lifeline import LIFELINE
from contract.ports import RunningJob
from contract.records import Job

COMMAND = (sys.executable, "-m", "retrain")
LOWEST_PRIORITY = 19
POLL_S = 0.02
KILLED_GROUP_TIMEOUT_S = 1.0  # a killed process that nobody reaps (a container without init) stays in its group


class LocalProcessEngine:
    """`contract.ports.JobEngine` on this machine.

    Args:
        command: what runs a job; `run JOB_ID --model NAME --attempt N` is appended.
        train_threads: CPU threads of a training; 0 leaves one core to serving.
        environment: of the process; None is this process's own.
    """

    def __init__(
        self,
        command: tuple[str, ...] = COMMAND,
        *,
        train_threads: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._threads = train_threads or max(1, _cores() - 1)
        self._environment = environment

    def launch(self, job: Job) -> RunningJob:
        """Start the job's process in a group of its own.

        Raises:
            TrainingFailed: it could not be started.
        """
        command = [*self._command, "run", job.id, "--model", job.model, "--attempt", str(job.attempt)]
        try:
            process = subprocess.Popen(  # our own command; the job's id and model's name are checked
                command, stdin=subprocess.PIPE, env=self._child_environment(), start_new_session=True
            )
        except OSError as error:
            raise TrainingFailed(
                f"The training process {command[0]} could not be started: {error.strerror}."
            ) from error
        return LocalJob(process)

    def _child_environment(self) -> dict[str, str]:
        threads = str(self._threads)
        return {
            **(os.environ if self._environment is None else self._environment),
            "OMP_NUM_THREADS": threads,
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": threads,
            LIFELINE: "1",
        }


class LocalJob:
    """One job's process group; its id is the process id of the job's own process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._group_ended = False
        _lower_priority(process.pid)

    def poll(self) -> int | None:
        """The exit status, or None while it runs; negative is the signal that ended it."""
        status = self._process.poll()
        if status is not None:
            self._end_group()
        return status

    def stop(self, *, grace_s: float) -> None:
        """End the whole group: ask, wait until the job's own process has gone or `grace_s` is over, kill the rest."""
        if self.poll() is not None:
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._end_group()

    def _end_group(self) -> None:
        """Kill what the job's process left behind, once: later the group's id may be somebody else's."""
        if self._group_ended:
            return
        self._group_ended = True
        deadline = time.monotonic() + KILLED_GROUP_TIMEOUT_S
        while self._signal(signal.SIGKILL) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _signal(self, number: signal.Signals) -> bool:
        """Send it to the group; False where nobody is left in it."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
            return False
        return True


def _lower_priority(group: int) -> None:
    with suppress(ProcessLookupError):  # it has ended already
        os.setpriority(os.PRIO_PGRP, group, LOWEST_PRIORITY)  # reaches every thread; PRIO_PROCESS only the first
    with suppress(OSError):  # where Linux groups tasks by session, niceness counts only inside one: sched(7), autogroup
        Path(f"/proc/{group}/autogroup").write_text(str(LOWEST_PRIORITY))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
