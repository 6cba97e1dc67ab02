"""A server with all its child processes: their CPU time, their memory, their end. From /proc."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
GRACE_S = 10.0


class ProcessTree:
    """Everything that descends from one process, looked up anew at each question."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def pids(self) -> list[int]:
        """The process and its descendants that run now."""
        parents = {pid: int(fields[1]) for pid, fields in _all_processes()}
        found = [self.pid] if self.pid in parents else []
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu_s(self) -> float:
        """User and system seconds so far, of those that run now and of those that they have waited for."""
        ours = set(self.pids())
        return sum(sum(map(int, fields[11:15])) for pid, fields in _all_processes() if pid in ours) / TICKS

    def end(self) -> None:
        """SIGTERM to the first, then SIGKILL to whatever of it all is left."""
        pids = self.pids()
        _send(self.pid, signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        while time.monotonic() < until and any(_runs(pid) for pid in pids):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.1)
        for pid in {*pids, *self.pids()}:
            _send(pid, signal.SIGKILL)


def rss_bytes(pid: int) -> int:
    """The resident set of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def command_line(pid: int) -> str:
    """How it was started."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _all_processes() -> Iterator[tuple[int, list[str]]]:
    """(pid, the fields of its stat from the state on) of each process that is no zombie."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
            if fields[0] != "Z":
                yield int(folder.name), fields


def _runs(pid: int) -> bool:
    return any(pid == other for other, _ in _all_processes())


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
