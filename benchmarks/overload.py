"""Five times more requests than can be answered: is what can be answered still answered, and soon?

usage: python -m benchmarks.overload [--photos FOLDER] [--models MobileNetV2 ...] [--seconds 60] (`make bench-overload`)

Per network: the capacity with 32 callers over REST, then an open loop at 0.8 of it, then one at five times as much. The
callers of the last say how long they will wait (X-Request-Timeout-Ms): 250 ms longer than the 99th percentile at 0.8;
the first network is measured once more with callers who do not. The generator shares the processors with the service.
Prints what was seen and which promised lines hold, writes benchmarks/results/overload.json, and exits 1 where a line
falls short.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bench_versions, machine, promises, ripen_server
from benchmarks.bench_versions import BACKBONES, BenchVersions
from benchmarks.machine import Machine
from benchmarks.process_tree import rss_bytes
from benchmarks.promises import Line
from benchmarks.ripen_server import RunningRipen
from contract import openvino_model
from contract.openvino_model import Precision
from contract.records import RuntimeChoice
from ripen.bench_http import HttpTarget
from ripen.bench_load import run_load
from ripen.bench_plan import ClosedLoop, OpenLoop, Plan
from ripen.bench_result import LoadResult, Mask, Samples

CALLERS, CAPACITY_S, STEADY_S, WARM_UP_S = 32, 10.0, 20.0, 3.0
STEADY_SHARE, TIMES = 0.8, 5.0
REFUSED = "429 overloaded"
LEAST_GOODPUT, MORE_MS, REFUSED_MS, MORE_MEMORY_MB = 0.85, 250.0, 100.0, 64.0
WATCH_S = 0.25  # between two looks at the front's memory


@dataclass(frozen=True)
class Case:
    """What came of one network. Rates are requests per second, times milliseconds from when a request was due.

    Attributes:
        timeout_ms: that callers gave; None: none.
        lost: requests by the code of an answer that was neither a prediction nor a refusal.
        late_ms: the generator itself, in the worst of a hundred cases.
        generator_ms: processor time per request, of the same two cores.
        more_memory_mb: of the front process, at its largest while overloaded.
    """

    model: str
    precision: str
    timeout_ms: int | None
    capacity: float
    steady_p99_ms: float
    rate: float
    goodput: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    refused: int
    refused_p50_ms: float
    refused_p99_ms: float
    lost: dict[str, int]
    late_ms: float
    generator_ms: float
    more_memory_mb: float


@dataclass(frozen=True)
class Result:
    """What is written down."""

    machine: Machine
    seconds: float
    cases: tuple[Case, ...]
    lines: tuple[Line, ...]


def main() -> int:
    """Measure, print, write; 1 where a promised line falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--models", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    precision = Precision.BF16 if Precision.BF16 in openvino_model.offered() else Precision.F32
    cases = []
    for number, model in enumerate(options.models):
        versions = bench_versions.prepare(model, photos=options.photos)
        with ripen_server.started(versions.home, RuntimeChoice.OPENVINO, precision) as service:
            overload = Overload(service, versions, precision, options.seconds)
            cases += asyncio.run(overload.run((False, True) if number == 0 else (True,)))
    lines = tuple(line for case in cases for line in judge(case))
    told = machine.describe()
    print(told)
    for case in cases:
        tell(case)
    return promises.finish("overload", Result(told, options.seconds, tuple(cases), lines), lines)


class Overload:
    """One service that is ready, and the loads on it."""

    def __init__(self, service: RunningRipen, versions: BenchVersions, precision: Precision, seconds: float) -> None:
        self._service = service
        self._versions = versions
        self._precision = precision
        self._seconds = seconds

    async def run(self, timeouts: Sequence[bool]) -> list[Case]:
        """The capacity and the steady load, then an overload with and without timeouts of the callers."""
        most = await self._load(ClosedLoop(CALLERS, CAPACITY_S, WARM_UP_S))
        capacity = most.summary().throughput
        steady = (await self._load(OpenLoop(STEADY_SHARE * capacity, STEADY_S, WARM_UP_S))).summary()
        assert steady.latency is not None, steady.errors
        p99_ms = steady.latency.p99_ms
        print(f"{self._versions.backbone}: {capacity:.0f}/s, p99 {p99_ms:.0f} ms at 0.8 of it", file=sys.stderr)
        return [await self._overload(capacity, p99_ms, int(p99_ms + MORE_MS) if each else None) for each in timeouts]

    async def _overload(self, capacity: float, steady_ms: float, timeout_ms: int | None) -> Case:
        rate, pid = TIMES * capacity, self._service.tree.pid
        before = most = rss_bytes(pid)
        loading = asyncio.create_task(self._load(OpenLoop(rate, self._seconds, WARM_UP_S), timeout_ms))
        while not loading.done():
            await asyncio.wait((loading,), timeout=WATCH_S)
            most = max(most, rss_bytes(pid))
        result = await loading
        summary, samples = result.summary(), result.measured
        refused = samples.where(_with_code(result, samples, REFUSED))
        accepted = samples.latency()
        refusals_s = sorted(refused.latency_s.tolist()) or [0.0]
        assert accepted is not None, summary.errors
        return Case(
            model=self._versions.backbone,
            precision=self._precision.value,
            timeout_ms=timeout_ms,
            capacity=capacity,
            steady_p99_ms=steady_ms,
            rate=rate,
            goodput=summary.throughput,
            accepted_p50_ms=accepted.p50_ms,
            accepted_p99_ms=accepted.p99_ms,
            refused=len(refused),
            refused_p50_ms=1000 * refusals_s[len(refusals_s) // 2],
            refused_p99_ms=1000 * refusals_s[int(0.99 * (len(refusals_s) - 1))],
            lost={code: count for code, count in summary.errors.items() if code != REFUSED},
            late_ms=summary.late_p99_ms,
            generator_ms=summary.generator_ms,
            more_memory_mb=(most - before) / 1e6,
        )

    async def _load(self, plan: Plan, timeout_ms: int | None = None) -> LoadResult:
        headers = {} if timeout_ms is None else {"X-Request-Timeout-Ms": str(timeout_ms)}
        url = f"http://{self._service.rest_address}/api/v1/predict"
        return await run_load(HttpTarget(url, content_type="image/jpeg", headers=headers), self._versions.images, plan)


def _with_code(result: LoadResult, samples: Samples, code: str) -> Mask:
    chosen: Mask = samples.code == (result.codes.index(code) if code in result.codes else -1)
    return chosen


def judge(case: Case) -> tuple[Line, ...]:
    """Which promised lines hold."""
    name = f"{case.model}, {'no timeout' if case.timeout_ms is None else f'timeout {case.timeout_ms} ms'}:"
    least, most_ms = LEAST_GOODPUT * case.capacity, case.steady_p99_ms + MORE_MS
    lost = sum(case.lost.values())
    return (
        Line(
            f"{name} goodput at least {LEAST_GOODPUT} of {case.capacity:.0f}/s",
            f"{case.goodput:.0f}/s, {case.goodput / case.capacity:.2f}",
            case.goodput >= least,
        ),
        Line(
            f"{name} accepted p99 at most {most_ms:.0f} ms ({case.steady_p99_ms:.0f} ms at 0.8 of capacity + 250 ms)",
            f"{case.accepted_p99_ms:.0f} ms",
            case.accepted_p99_ms <= most_ms,
        ),
        Line(
            f"{name} rejections' p99 at most {REFUSED_MS:.0f} ms",
            f"{case.refused_p99_ms:.0f} ms of {case.refused}",
            case.refused_p99_ms <= REFUSED_MS and case.refused > 0,
        ),
        Line(
            f"{name} front's memory at most {MORE_MEMORY_MB:.0f} MB more",
            f"{case.more_memory_mb:+.0f} MB",
            case.more_memory_mb <= MORE_MEMORY_MB,
        ),
        Line(f"{name} every request is answered or refused", f"{lost} lost {case.lost or ''}", lost == 0),
    )


def tell(case: Case) -> None:
    """Print it."""
    print(
        f"{case.model}, OpenVINO {case.precision}: {case.rate:.0f}/s were sent where {case.capacity:.0f}/s can be "
        f"answered; accepted p50 {case.accepted_p50_ms:.0f} ms, refused p50 {case.refused_p50_ms:.1f} ms; the "
        f"generator took {case.generator_ms:.2f} ms of processor per request and was {case.late_ms:.0f} ms late (p99)"
    )


if __name__ == "__main__":
    sys.exit(main())
