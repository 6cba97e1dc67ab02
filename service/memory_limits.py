"""How much memory this machine or container has, and how much of it a process takes. Before LINE A step 3.

Source: proc(5), cgroups(7); cgroup v2 `memory.max`, v1 `memory.limit_in_bytes`.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENGINES_SHARE = 0.75  # of the limit; the rest is for the front process, uploads and what the system needs
PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
AVAILABLE = re.compile(r"^MemAvailable:\s*(\d+) kB$", re.MULTILINE)
RESIDENT = re.compile(r"^(RssAnon|RssFile|RssShmem):\s*(\d+) kB$", re.MULTILINE)


def default_budget_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """What all engines together may take where nobody set it: three quarters of what this process may have."""
    return int(memory_limit_bytes(proc, cgroups) * ENGINES_SHARE)


def memory_limit_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """The smallest of the machine's memory and the limits of this process's cgroup and of those above it."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(each for group in _groups(proc, cgroups) for each in group.limit_bytes())])


def free_memory_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """What may still be taken now, of the machine and of each cgroup around this process; None where nobody says."""
    free = [each for group in _groups(proc, cgroups) for each in group.free_bytes()]
    with contextlib.suppress(OSError):
        available = AVAILABLE.search((proc / "meminfo").read_text())
        free += [int(available[1]) * 1024] if available else []
    return min(free, default=None)


@dataclass(frozen=True)
class ProcessMemory:
    """What a process holds now: memory of its own, and pages of files, which processes of the same program share."""

    own_bytes: int
    file_bytes: int


def process_memory(pid: int, proc: Path = PROC) -> ProcessMemory | None:
    """Measure a process; None where it has just ended.

    Not PSS: an engine's was 638 MB alone and 456 MB beside another that came later (measured); such sums are too small.
    """
    try:
        text = (proc / str(pid) / "status").read_text()
    except OSError:
        return None
    found = {name: int(kilobytes) * 1024 for name, kilobytes in RESIDENT.findall(text)}
    if not found:  # a zombie
        return None
    return ProcessMemory(found["RssAnon"] + found["RssShmem"], found["RssFile"])


@dataclass(frozen=True)
class _Group:
    """One cgroup's folder, and what its files and the line of its unused file pages are called."""

    folder: Path
    limit: str
    usage: str
    unused: str

    def limit_bytes(self) -> Iterator[int]:
        with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
            yield int((self.folder / self.limit).read_text())

    def free_bytes(self) -> Iterator[int]:
        """What is left of its limit, where it has one; pages of files that nobody used lately count as free."""
        with contextlib.suppress(OSError, ValueError):
            used_bytes = int((self.folder / self.usage).read_text())
            unused = re.search(rf"^{self.unused} (\d+)$", (self.folder / "memory.stat").read_text(), re.MULTILINE)
            for limit_bytes in self.limit_bytes():
                yield limit_bytes - used_bytes + (int(unused[1]) if unused else 0)


def _groups(proc: Path, cgroups: Path) -> Iterator[_Group]:
    """This process's cgroup and each above it; in a container the path may be the host's and only the root exist."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from (_Group(each, *V2) for each in _upwards(cgroups, path))
        elif "memory" in controllers.split(","):
            yield from (_Group(each, *V1) for each in _upwards(cgroups / "memory", path))


def _upwards(root: Path, path: str) -> Iterator[Path]:
    folder = root / path.strip("/")
    for each in (folder, *folder.parents):
        yield each
        if each == root:
            return
