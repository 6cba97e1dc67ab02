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
RESIDENT = re.compile(r"^(RssAnon|RssFile|RssShmem):\s*(\d+) kB$", re.MULTILINE)


def default_budget_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """What all engines together may take where nobody set it: three quarters of what this process may have."""
    return int(memory_limit_bytes(proc, cgroups) * ENGINES_SHARE)


def memory_limit_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """The smallest of the machine's memory and the limits of this process's cgroup and of those above it."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(proc, cgroups)])


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


def _limits(proc: Path, cgroups: Path) -> Iterator[int]:
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _read_upwards(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _read_upwards(cgroups / "memory", path, "memory.limit_in_bytes")


def _read_upwards(root: Path, path: str, name: str) -> Iterator[int]:
    """The limit of a cgroup and of each above it; in a container the path may be the host's and only the root exist."""
    folder = root / path.strip("/")
    for each in (folder, *folder.parents):
        with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
            yield int((each / name).read_text())
        if each == root:
            return
