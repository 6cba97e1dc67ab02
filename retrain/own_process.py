"""One step of publishing in a process of its own, since its libraries may abort: both ends. LINE B step 4.

The child writes a line to stdout for each progress, and where it fails the reason as its last. It belongs to its job's
process group, and goes with the job's process (contract/lifeline.py).
"""

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, NoReturn

from contract import lifeline
from contract.errors import ConversionFailed

Tell = Callable[[str], None]
TIMEOUT_S = 900.0  # VGG16, the slowest that was measured, takes 165 s on 2 very busy cores


@dataclass(frozen=True)
class OwnProcess:
    """The parent's end: how one of our modules is started, and how long it may take."""

    command: tuple[str, ...] = (sys.executable, "-m")
    timeout_s: float = TIMEOUT_S

    def run(self, module: str, *arguments: str, tell: Tell) -> None:
        """Run `module` with its arguments, and pass on what it tells.

        Raises:
            ConversionFailed: it failed, died or took too long; says how.
        """
        command = [*self.command, module, *arguments]
        environment = {**os.environ, lifeline.LIFELINE: "1", "CUDA_VISIBLE_DEVICES": "-1"}  # no GPU for a conversion
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        except OSError as error:
            raise ConversionFailed(f"{command[0]} could not be started: {error.strerror}.") from error
        with process:
            try:
                late, last = self._listen(process, tell)
            finally:
                process.kill()  # where `tell` raised; else it has ended
        if late:
            raise ConversionFailed(f"{module} took longer than {self.timeout_s:g} s.")
        if process.returncode:
            raise ConversionFailed(f"{module}: {_describe_end(process.returncode, last)}")

    def _listen(self, process: subprocess.Popen[str], tell: Tell) -> tuple[bool, str]:
        """Pass on lines until the process ends; whether its time ran out, and its last line."""
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.timeout_s, end)
        timer.start()
        last = ""
        try:
            for line in process.stdout:
                last = line.strip()
                tell(last)
            process.wait()
        finally:
            timer.cancel()
        return late.is_set(), last


def be_child(step: Callable[[Tell], None]) -> NoReturn:
    """The child's end: do `step` on the job's share of the cores, and exit."""
    lifeline.watch(lambda: os._exit(1))
    _take_share_of_cores()
    parent = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries write to stdout too
    try:
        step(lambda line: _write(parent, line))
    except Exception as error:  # whatever it is, the version is published without
        traceback.print_exc()
        _write(parent, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
        sys.exit(1)
    sys.exit(0)


def _write(parent: IO[str], line: str) -> None:
    parent.write(f"{line}\n")
    parent.flush()


def _take_share_of_cores() -> None:
    """As many cores as the job has threads: OpenVINO counts cores and looks at no variable."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    if threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def _describe_end(status: int, last: str) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        return f"killed by {name}" + (", often for want of memory." if name == "SIGKILL" else ".")
    return last or f"ended with exit status {status}."
