"""What the system says of memory, and what it says in containers."""

import os
from pathlib import Path

import pytest

from service.memory_limits import (
    ProcessMemory,
    default_budget_bytes,
    free_memory_bytes,
    memory_limit_bytes,
    process_memory,
)

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def machine(folder: Path, cgroup: str, limits: dict[str, str]) -> tuple[Path, Path]:
    proc, cgroups = folder / "proc", folder / "cgroup"
    for path, text in {
        proc / "self" / "cgroup": cgroup,
        **{cgroups / name: text for name, text in limits.items()},
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, cgroups


@pytest.mark.parametrize(
    ("cgroup", "limits", "wanted"),
    [
        ("0::/\n", {"memory.max": "1000\n"}, 1000),
        ("0::/pod/container\n", {"pod/container/memory.max": "max\n", "pod/memory.max": "900\n"}, 900),
        ("0::/pod/container\n", {"pod/container/memory.max": "700\n", "pod/memory.max": "900\n"}, 700),
        ("0::/hosts/own/path\n", {"memory.max": "800\n"}, 800),  # a container that sees only its own root
        ("5:cpu:/\n4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "600\n"}, 600),
        ("4:memory:/a\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        ("0::/\n", {}, MACHINE),
    ],
)
def test_the_smallest_limit_counts(tmp_path: Path, cgroup: str, limits: dict[str, str], wanted: int) -> None:
    proc, cgroups = machine(tmp_path, cgroup, limits)
    assert memory_limit_bytes(proc, cgroups) == wanted
    assert default_budget_bytes(proc, cgroups) == int(wanted * 0.75)


@pytest.mark.parametrize(
    ("cgroup", "files", "wanted"),
    [
        ("0::/\n", {"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 1\ninactive_file 50\n"}, 350),
        (
            "4:memory:/a\n",
            {
                "memory/a/memory.limit_in_bytes": "1000",
                "memory/a/memory.usage_in_bytes": "700",
                "memory/a/memory.stat": "inactive_file 7\ntotal_inactive_file 50\n",
            },
            350,
        ),
        ("0::/\n", {"memory.max": "max", "memory.current": "700", "memory.stat": ""}, 4096),
        ("0::/\n", {}, 4096),
    ],
)
def test_what_is_free_is_the_least_of_machine_and_cgroups(
    tmp_path: Path, cgroup: str, files: dict[str, str], wanted: int
) -> None:
    proc, cgroups = machine(tmp_path, cgroup, files)
    (proc / "meminfo").write_text("MemTotal:  8 kB\nMemAvailable:      4 kB\n")
    assert free_memory_bytes(proc, cgroups) == wanted


def test_without_proc_the_machine_counts(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path, tmp_path) == MACHINE
    assert free_memory_bytes(tmp_path, tmp_path) is None


def test_a_process_is_measured_while_it_lives(tmp_path: Path) -> None:
    measured = process_memory(os.getpid())
    assert measured is not None
    assert 2**20 < measured.own_bytes < MACHINE
    assert 2**20 < measured.file_bytes < MACHINE
    assert process_memory(2**22 + 1) is None
    (tmp_path / "7").mkdir()
    status = tmp_path / "7" / "status"
    status.write_text("Name:\tpython\nVmRSS:\t  600 kB\nRssAnon:\t  300 kB\nRssFile:\t  200 kB\nRssShmem:\t  100 kB\n")
    assert process_memory(7, tmp_path) == ProcessMemory(own_bytes=400 * 1024, file_bytes=200 * 1024)
    status.write_text("Name:\tpython\nState:\tZ (zombie)\n")
    assert process_memory(7, tmp_path) is None
