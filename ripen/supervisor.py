"""Keeps the service and the worker running as long as `ripen up` does. Neither line: it starts the processes of both.

Each child has a session of its own, so that Ctrl-C reaches only `ripen up`, and ends by itself when this process goes:
its stdin is a pipe that nobody writes to, and `RIPEN_LIFELINE` tells it to watch that.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EXIT_BAD_SETTING = 78  # EX_CONFIG of sysexits.h: starting again cannot help
STABLE_S = 10.0
LONGEST_DELAY_S = 30.0
POLL_S = 0.1
MAX_LOG_BYTES = 10 * 2**20  # and as much again in one older file
STOP_TIMEOUT_S = 25.0  # the service drains for up to 20 s


@dataclass(frozen=True)
class Program:
    """One process to keep running."""

    name: str
    command: tuple[str, ...]


def restart_delay_s(status: int, *, lived_s: float, failures: int, was_stable: bool) -> float | None:
    """When to start a program again that ended by itself; None gives it up.

    Args:
        status: exit status, negative for a signal.
        lived_s: how long it ran.
        failures: how often in a row it ended before it was stable.
        was_stable: it has run for STABLE_S before. One that never did and ends with an error of its own said why.
    """
    stable = lived_s >= STABLE_S
    if status == EXIT_BAD_SETTING or (status > 0 and not stable and not was_stable):
        return None
    return 0.0 if stable else min(LONGEST_DELAY_S, 2.0**failures)


class Child:
    """One program's present process. Used by one thread at a time."""

    def __init__(self, program: Program, environment: Mapping[str, str], log: Path) -> None:
        self.name = program.name
        self.log = log
        self._program = program
        self._environment = environment
        self._failures = 0
        self._was_stable = False

    def start(self) -> None:
        """Start a process; its output goes to the end of the log."""
        self.cap_log()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._program.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        self._started = time.monotonic()
        self.restart_at: float | None = None

    def cap_log(self) -> None:
        """Begin the log anew once it is long, and keep the old one beside it as `.1`.

        The process appends to an open file, so that the file is emptied and not renamed; what it writes in the moment
        between copy and cut is lost.
        """
        if not self.log.exists() or self.log.stat().st_size <= MAX_LOG_BYTES:
            return
        with contextlib.suppress(OSError):  # a full disk: the cut is what helps
            shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
        os.truncate(self.log, 0)
        self._log_start = 0

    def ended(self) -> int | None:
        """The exit status of a process that has ended and is not yet dealt with."""
        return self.process.poll() if self.restart_at is None else None

    def plan_restart(self, status: int) -> float | None:
        """Note an unwanted end; return the seconds until the next start, or None to give up."""
        self._let_go()
        lived_s = time.monotonic() - self._started
        delay_s = restart_delay_s(status, lived_s=lived_s, failures=self._failures, was_stable=self._was_stable)
        stable = lived_s >= STABLE_S
        self._was_stable |= stable
        self._failures = 0 if stable else self._failures + 1
        if delay_s is not None:
            self.restart_at = time.monotonic() + delay_s
        return delay_s

    def last_line(self) -> str:
        """The last line that the present process wrote, which says why it ended."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"it wrote nothing to {self.log}")

    def end(self, deadline: float) -> None:
        """Wait for the process until the deadline, then kill its whole group."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self._let_go()

    def kill(self) -> None:
        """Kill the process and whatever it left in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _let_go(self) -> None:
        """Close our end of the lifeline of a process that has ended."""
        if self.process.stdin:
            self.process.stdin.close()


class Supervisor:
    """Starts programs, restarts those that crash, stops them all.

    Args:
        programs: started in this order.
        environment: of every child; `RIPEN_LIFELINE` is added.
        logs: folder for one log file per program.
        say: called with a line for people, from the watching thread.
        on_failure: called once, from the watching thread, when a program is given up; `failure` then says why.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        environment: Mapping[str, str],
        logs: Path,
        *,
        say: Callable[[str], None],
        on_failure: Callable[[], None],
    ) -> None:
        self.failure: str | None = None
        self._children = [
            Child(one, {**environment, "RIPEN_LIFELINE": "1"}, logs / f"{one.name}.log") for one in programs
        ]
        self._say = say
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start every program and watch over them."""
        for child in self._children:
            child.start()
        self._watching.start()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask every process to end, and kill what has not after `timeout_s`."""
        self._stopping.set()
        self._watching.join()
        deadline = time.monotonic() + timeout_s
        for child in self._children:
            child.process.terminate()
        for child in self._children:
            child.end(deadline)

    def kill(self) -> None:
        """Kill everything at once."""
        self._stopping.set()
        for child in self._children:
            child.kill()

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_S):
            for child in self._children:
                child.cap_log()
                status = child.ended()
                if status is not None and not self._handle_end(child, status):
                    return
                if child.restart_at is not None and time.monotonic() >= child.restart_at:
                    child.start()

    def _handle_end(self, child: Child, status: int) -> bool:
        """Plan a restart, or give everything up; returns whether to go on."""
        delay_s = child.plan_restart(status)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        if delay_s is None:
            self.failure = f"The {child.name} cannot run: {child.last_line()}"
            self._on_failure()
            return False
        self._say(f"The {child.name} {how} (see {child.log}); starting it again in {delay_s:.0f} s.")
        return True
