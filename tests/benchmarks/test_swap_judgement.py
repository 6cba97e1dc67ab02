"""Which lines of the swap benchmark hold: each of them falls short by its own figure."""

from dataclasses import replace

import pytest

from benchmarks import machine
from benchmarks.swap import Footprint, Result, judge

GOOD = Result(
    machine=machine.describe(),
    model="MobileNetV2",
    precision="bf16",
    capacity=400.0,
    rate=200.0,
    requests=6000,
    failed={},
    mixed=0,
    steady_p50_ms=3.0,
    steady_p99_ms=40.0,
    swap_p50_ms=4.0,
    swap_p99_ms=100.0,
    longest_ms=200.0,
    swap_seconds=(2.0,),
    rollback_ms=(10.0,),
    footprints=tuple(Footprint(400.0, 60, 2) for _ in range(20)),
)


def moved(last: Footprint) -> tuple[Footprint, ...]:
    return (*GOOD.footprints[:-1], last)


def test_all_lines_hold() -> None:
    assert all(line.holds for line in judge(GOOD))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"requests": 5999}, "5999"),
        ({"failed": {"503 engine_unavailable": 1}}, "1 {'503 engine_unavailable': 1}"),
        ({"mixed": 1}, "1"),
        ({"swap_p99_ms": 101.0}, "101 ms, steady 40 ms"),
        ({"steady_p99_ms": 100.0, "swap_p99_ms": 201.0}, "201 ms, steady 100 ms"),
        ({"footprints": moved(Footprint(431.0, 60, 2))}, "+31 MB of 400 MB"),
        ({"footprints": moved(Footprint(400.0, 60, 3))}, "3 children, +0 descriptors of 60"),
        ({"footprints": moved(Footprint(400.0, 64, 2))}, "2 children, +4 descriptors of 60"),
        ({"rollback_ms": (10.0, 1001.0)}, "10 ms, 1001 ms"),
    ],
)
def test_a_line_falls_short(changes: dict[str, object], wanted: str) -> None:
    (short,) = [line for line in judge(replace(GOOD, **changes)) if not line.holds]
    assert short.seen == wanted
