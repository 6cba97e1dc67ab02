"""The figures that are read off a load."""

import json
import math

import msgspec
import pytest

from ripen.bench_plan import Answer, ClosedLoop, OpenLoop
from ripen.bench_report import COLUMNS, Report, cells, describe, remarks
from ripen.bench_result import LoadResult, Samples
from ripen.bench_session import Measured
from ripen.bench_swaps import Swap

Row = tuple[float, float, Answer]  # start, latency, answer


def result(rows: list[Row], plan: ClosedLoop | OpenLoop = ClosedLoop(2)) -> LoadResult:  # noqa: B008  # frozen
    import numpy as np

    codes = list(dict.fromkeys(["", *(answer.code for _, _, answer in rows)]))
    starts = np.array([start for start, _, _ in rows])
    samples = Samples(
        starts,
        starts + 0.007,
        np.array([latency for _, latency, _ in rows]),
        np.zeros(len(rows), np.int64),
        np.array([answer.version for _, _, answer in rows]),
        np.array([answer.probability for _, _, answer in rows]),
        np.array([codes.index(answer.code) for _, _, answer in rows]),
    )
    messages = {answer.code: answer.message for _, _, answer in rows if answer.code}
    return LoadResult(plan, 1000.0, 10.0, samples, tuple(codes), messages, 0.5)


def test_percentiles_are_of_right_answers_after_the_warm_up() -> None:
    rows: list[Row] = [(-1.0, 9.0, Answer(1, 0.5))]
    rows += [(number / 1000, number / 1000, Answer(1, 0.5)) for number in range(1, 1001)]
    rows += [(1.0, 0.0001, Answer(code="429 overloaded", message="Full."))] * 3
    summary = result(rows).summary()
    latency = summary.latency
    assert latency is not None
    assert latency.p50_ms == pytest.approx(500.5)
    assert latency.p90_ms == pytest.approx(900.1)
    assert latency.p95_ms == pytest.approx(950.05)
    assert latency.p99_ms == pytest.approx(990.01)
    assert latency.p999_ms == pytest.approx(999.001)
    assert latency.max_ms == pytest.approx(1000)
    assert latency.mean_ms == pytest.approx(500.5)
    assert summary.requests == 1003
    assert summary.errors == {"429 overloaded": 3}
    assert summary.generator_ms == pytest.approx(500 / 1003)
    assert summary.throughput == pytest.approx(100.1)  # the one of the warm-up was answered within what is measured


def test_answers_that_come_after_the_end_are_no_throughput() -> None:
    assert result([(9.0, 0.5, Answer(1, 0.5)), (9.0, 2.0, Answer(1, 0.5))]).summary().throughput == 0.1


def test_what_touches_a_swap_is_told_apart() -> None:
    rows: list[Row] = [(number / 10, 0.05, Answer(1, 0.5)) for number in range(100)]
    rows += [(2.5, 0.2, Answer(2, 0.5)), (2.95, 0.2, Answer(2, 0.5)), (2.0, 0.3, Answer(code="503 draining"))]
    swaps = (Swap(2, 1003.0, 1003.5), Swap(1, 1009.0, failure="no memory"))
    summary = describe(Measured(result(rows), swaps), swapped=True).swaps
    assert summary is not None
    assert summary.count == 1
    assert summary.longest_s == 0.5
    assert summary.failures == ("version 1: no memory",)
    assert summary.failed_during == 0
    assert summary.during is not None
    assert summary.during.max_ms == pytest.approx(200)  # began before the promotion, ended after it
    assert summary.steady is not None
    assert summary.steady.max_ms == pytest.approx(200)
    failed = [*rows, (4.4, 0.01, Answer(code="503 draining"))]
    assert describe(Measured(result(failed), swaps), swapped=True).swaps.failed_during == 1  # type: ignore[union-attr]  # there are some
    later = [*rows, (4.6, 0.01, Answer(code="503 draining"))]
    assert describe(Measured(result(later), swaps), swapped=True).swaps.failed_during == 0  # type: ignore[union-attr]  # as above


def test_a_row_and_its_remarks_say_everything_and_are_json() -> None:
    refused = Answer(code="429 overloaded", message="The queue is full.")
    rows: list[Row] = [(1.0, 0.0125, Answer(3, 0.5)), (2.0, 0.1, refused)]
    row = describe(Measured(result(rows, OpenLoop(40)), ()), swapped=True)
    assert len(cells(row.load)) == len(COLUMNS)
    assert cells(row.load) == ("40/s", "0.1", "12.5", "12.5", "12.5", "12.5", "12.5", "1")
    told = list(remarks([row], {"429 overloaded": "The queue is full."}))
    assert told[0] == "40/s: 1 times 429 overloaded (The queue is full.)"
    assert "7 ms late" in told[1]
    assert "0 swaps" in told[2]
    assert "version 3 answered 1" in told[3]
    document = json.loads(msgspec.json.encode(Report("http://x", (row,), interrupted=False)))
    assert document["rows"][0]["load"]["latency"]["p99_ms"] == pytest.approx(12.5)
    assert math.isfinite(document["rows"][0]["load"]["late_p99_ms"])


def test_a_load_without_an_answer_has_no_figures() -> None:
    row = describe(Measured(result([(1.0, 0.1, Answer(code="unreachable"))]), ()), swapped=False)
    assert cells(row.load) == ("2 at once", "0.0", "-", "-", "-", "-", "-", "1")
    assert not Report("http://x", (row,), interrupted=False).sound
    assert result([]).summary().requests == 0
