"""Which lines of the overload benchmark hold: each of them falls short by its own figure."""

from dataclasses import replace

import pytest

from benchmarks.overload import Case, judge

GOOD = Case(
    model="MobileNetV2",
    precision="bf16",
    timeout_ms=None,
    capacity=400.0,
    steady_p99_ms=20.0,
    rate=2000.0,
    goodput=340.0,
    accepted_p50_ms=100.0,
    accepted_p99_ms=270.0,
    refused=90_000,
    refused_p50_ms=2.0,
    refused_p99_ms=100.0,
    lost={},
    late_ms=5.0,
    generator_ms=0.1,
    more_memory_mb=64.0,
)


def test_all_lines_hold() -> None:
    assert all(line.holds for line in judge(GOOD))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"goodput": 339.0}, "339/s, 0.85"),
        ({"capacity": 401.0}, "340/s, 0.85"),
        ({"accepted_p99_ms": 271.0}, "271 ms"),
        ({"refused_p99_ms": 101.0}, "101 ms of 90000"),
        ({"refused": 0}, "100 ms of 0"),
        ({"more_memory_mb": 65.0}, "+65 MB"),
        ({"lost": {"504 deadline_exceeded": 1}}, "1 lost {'504 deadline_exceeded': 1}"),
    ],
)
def test_one_line_falls_short(changes: dict[str, object], wanted: str) -> None:
    (line,) = (line for line in judge(replace(GOOD, **changes)) if not line.holds)
    assert line.seen == wanted
