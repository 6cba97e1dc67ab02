"""Swaps under load: does anybody notice? 20 versions, each loaded anew, take over one after the other.

usage: python -m benchmarks.swap [--photos FOLDER] [--model MobileNetV2] [--swaps 20]      (`make bench-swap`)

An open loop at half of the capacity that was measured just before, REST and gRPC half each. Every version gives
probabilities that name it. Prints what was seen and which promised lines hold, writes benchmarks/results/swap.json, and
exits 1 where a line falls short.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np

from backends.database import SqlDatabase
from backends.storage import ObjectStorage
from benchmarks import bench_versions, machine, promises, ripen_server
from benchmarks.bench_versions import BenchVersions
from benchmarks.machine import Machine
from benchmarks.process_tree import ProcessTree
from benchmarks.promises import Line
from benchmarks.ripen_server import RunningRipen
from contract import artifact, openvino_model
from contract.openvino_model import Precision
from contract.records import DEFAULT_MODEL, RuntimeChoice
from contract.settings import Settings
from ripen.bench_grpc import GrpcTarget, classify
from ripen.bench_http import HttpTarget
from ripen.bench_load import run_load
from ripen.bench_plan import ClosedLoop, OpenLoop, Plan, Target
from ripen.bench_result import LoadResult

LEAST_REQUESTS = 6000
CAPACITY_S, STEADY_S, PAUSE_S, WARM_UP_S = 8.0, 15.0, 3.0, 3.0
AFTERWARDS_S = 1.0  # of a swap's window, after the new version was seen to answer
CALLERS = 16  # per protocol, while the capacity is measured
SWAP_S, GONE_S = 180.0, 60.0
LONGEST_S = 3600.0
MEMORY_FROM = 3  # swaps, after which memory and descriptors are compared
MORE_MEMORY_MB, MORE_DESCRIPTORS = 30.0, 3
ENGINES = 2  # the live version's, and that of the one before
P99_FACTOR, P99_MORE_MS = 2.0, 60.0


@dataclass(frozen=True)
class Footprint:
    """What the service holds at one moment."""

    pss_mb: float
    descriptors: int  # of the front process
    children: int


@dataclass(frozen=True)
class Swap:
    """One promotion, in seconds of `time.perf_counter`."""

    version: int
    asked_s: float
    live_s: float
    after: Footprint


@dataclass(frozen=True)
class Result:
    """What is written down. Times are milliseconds, of answers from the moment a request was due."""

    machine: Machine
    model: str
    precision: str
    capacity: float
    rate: float
    requests: int
    failed: dict[str, int]
    mixed: int
    steady_p50_ms: float
    steady_p99_ms: float
    swap_p50_ms: float
    swap_p99_ms: float
    longest_ms: float
    swap_seconds: tuple[float, ...]
    rollback_ms: tuple[float, ...]
    footprints: tuple[Footprint, ...]
    lines: tuple[Line, ...] = ()


def main() -> int:
    """Measure, print, write; 1 where a promised line falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--model", default="MobileNetV2")
    parser.add_argument("--swaps", type=int, default=20)
    options = parser.parse_args()
    versions = bench_versions.prepare(options.model, photos=options.photos)
    precision = Precision.BF16 if Precision.BF16 in openvino_model.offered() else Precision.F32
    with tempfile.TemporaryDirectory(dir=bench_versions.CACHE) as place:
        home = Path(place) / "home"
        numbers = publish_copies(versions, home, options.swaps)
        with ripen_server.started(home, RuntimeChoice.OPENVINO, precision) as service:
            measured = asyncio.run(measure(service, versions, numbers, precision))
    result = replace(measured, lines=judge(measured))
    tell(result)
    return promises.finish("swap", result, result.lines)


# Versions


def publish_copies(versions: BenchVersions, home: Path, swaps: int) -> list[int]:
    """A home like the prepared one, with so many more versions: copies of 1 and 2 in turn; their numbers."""
    shutil.copytree(versions.home, home, copy_function=_link_or_copy)
    settings = Settings.from_environment({"RIPEN_HOME": str(home)})
    database = SqlDatabase(settings.database_url)
    storage = ObjectStorage(settings.storage_url, cache=home / "cache")
    numbers = list(range(3, 3 + swaps))
    for number in numbers:
        source = versions.folders[(number - 1) % 2]
        folder = home.parent / str(number)
        shutil.copytree(source, folder, copy_function=_link_or_copy)
        manifest = artifact.read_manifest(folder)
        (folder / artifact.MANIFEST).unlink()
        artifact.write_manifest(folder, replace(manifest, version=number, job_id=str(number).rjust(32, "b")))
        bench_versions._record(database, storage, folder)  # what recorded versions 1 and 2
    database.close()
    return numbers


def _link_or_copy(source: str, target: str) -> None:
    """A version's files are never written again: links spare 50 MB per version. All else is copied."""
    if "models" in Path(source).parts:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


# Measuring


async def measure(
    service: RunningRipen, versions: BenchVersions, numbers: Sequence[int], precision: Precision
) -> Result:
    """All of it, on a service that is ready with version 1."""
    targets = (
        HttpTarget(f"http://{service.rest_address}/api/v1/predict", content_type="image/jpeg"),
        GrpcTarget(service.grpc_address, classify(DEFAULT_MODEL)),
    )
    most = await _load(targets, versions.images, ClosedLoop(CALLERS, CAPACITY_S, WARM_UP_S), asyncio.Event())
    capacity = sum(each.summary().throughput for each in most)
    rate, stop = capacity / 2, asyncio.Event()
    began_s = time.perf_counter()
    plan = OpenLoop(rate / len(targets), LONGEST_S, WARM_UP_S)
    loading = asyncio.create_task(_load(targets, versions.images, plan, stop))
    async with httpx.AsyncClient(base_url=f"http://{service.rest_address}", timeout=30) as client:
        await asyncio.sleep(WARM_UP_S + STEADY_S)
        swaps = []
        for number in numbers:
            swaps.append(await swap(client, service.tree, number))
            await asyncio.sleep(PAUSE_S)
        rollbacks = tuple([await rollback_ms(client, numbers[-1], numbers[-2]) for _ in range(3)])
        await asyncio.sleep(max(STEADY_S, 1.05 * LEAST_REQUESTS / rate - (time.perf_counter() - began_s)))
    stop.set()
    results = await loading
    for target in targets:
        await target.close()
    seen = _Seen(results, versions, swaps)
    return seen.result(capacity, rate, rollbacks, precision)


async def _load(
    targets: Sequence[Target], images: Sequence[bytes], plan: Plan, stop: asyncio.Event
) -> list[LoadResult]:
    return await asyncio.gather(*(run_load(target, images, plan, stop=stop) for target in targets))


async def swap(client: httpx.AsyncClient, tree: ProcessTree, number: int) -> Swap:
    """Promote a version, wait until it answers, then until the one before the last has gone."""
    asked_s = time.perf_counter()
    await _change(client, f"/{number}:promote", number)
    live_s = time.perf_counter()
    until = live_s + GONE_S
    while len(tree.pids()) > 1 + ENGINES and time.perf_counter() < until:  # noqa: ASYNC110  # processes have no event
        await asyncio.sleep(0.1)
    await asyncio.sleep(AFTERWARDS_S)
    print(f"version {number} answers after {live_s - asked_s:.1f} s", file=sys.stderr)
    return Swap(number, asked_s, live_s, footprint(tree))


async def rollback_ms(client: httpx.AsyncClient, newest: int, before: int) -> float:
    """How long a rollback takes until the version before is seen to answer; the newest is promoted again then."""
    began_s = time.perf_counter()
    await _change(client, ":rollback", before)
    took_ms = 1000 * (time.perf_counter() - began_s)
    await _change(client, f"/{newest}:promote", newest)
    return took_ms


async def _change(client: httpx.AsyncClient, what: str, number: int) -> None:
    (await client.post(f"/api/v1/versions{what}", json={"reason": "a benchmark"})).raise_for_status()
    until = time.perf_counter() + SWAP_S
    while (await client.get("/api/v1/versions")).json()["live"] != number:
        if time.perf_counter() > until:
            raise SystemExit(f"Version {number} did not go live within {SWAP_S:g} s.")
        await asyncio.sleep(0.1)


def footprint(tree: ProcessTree) -> Footprint:
    """Of the service with its children, now."""
    pids = tree.pids()
    descriptors = len(list(Path(f"/proc/{tree.pid}/fd").iterdir()))
    return Footprint(sum(_pss_bytes(pid) for pid in pids) / 1e6, descriptors, len(pids) - 1)


def _pss_bytes(pid: int) -> int:
    """The proportional set: what is shared counts once over all."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class _Seen:
    """All requests of the open loop, with the swaps meanwhile."""

    def __init__(self, results: Sequence[LoadResult], versions: BenchVersions, swaps: Sequence[Swap]) -> None:
        self._results = results
        self._versions = versions
        self._swaps = swaps

    def result(self, capacity: float, rate: float, rollbacks: tuple[float, ...], precision: Precision) -> Result:
        """The figures."""
        steady_ms, swapping_ms = (
            np.concatenate(each) for each in zip(*map(self._latencies_ms, self._results), strict=True)
        )
        failed: dict[str, int] = {}
        for each in self._results:
            for code, count in each.errors(each.samples).items():
                failed[code] = failed.get(code, 0) + count
        return Result(
            machine=machine.describe(),
            model=self._versions.backbone,
            precision=precision.value,
            capacity=capacity,
            rate=rate,
            requests=sum(len(each.samples) for each in self._results),
            failed=failed,
            mixed=sum(self._mixed(each) for each in self._results),
            steady_p50_ms=float(np.percentile(steady_ms, 50)),
            steady_p99_ms=float(np.percentile(steady_ms, 99)),
            swap_p50_ms=float(np.percentile(swapping_ms, 50)),
            swap_p99_ms=float(np.percentile(swapping_ms, 99)),
            longest_ms=float(max(steady_ms.max(), swapping_ms.max())),
            swap_seconds=tuple(each.live_s - each.asked_s for each in self._swaps),
            rollback_ms=rollbacks,
            footprints=tuple(each.after for each in self._swaps),
        )

    def _latencies_ms(self, result: LoadResult) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], ...]:
        """Of right answers after the warm-up: outside of every swap's window, and inside of one."""
        samples = result.measured
        due_s = samples.start_s + result.began_s
        inside = np.zeros(len(samples), bool)
        for each in self._swaps:
            inside |= (due_s + samples.latency_s > each.asked_s) & (due_s < each.live_s + AFTERWARDS_S)
        return samples.latency_s[samples.right & ~inside] * 1000, samples.latency_s[samples.right & inside] * 1000

    def _mixed(self, result: LoadResult) -> int:
        """Answers whose probability is not that of the version that they name."""
        right = result.samples.where(result.samples.right)
        answers = zip(right.image.tolist(), right.version.tolist(), right.probability.tolist(), strict=True)
        return sum(
            self._versions.version_of(image, probability) != (version - 1) % 2 + 1
            for image, version, probability in answers
        )


# Judging


def judge(result: Result) -> tuple[Line, ...]:
    """Which promised lines hold."""
    failed = sum(result.failed.values())
    most_ms = max(P99_FACTOR * result.steady_p99_ms, result.steady_p99_ms + P99_MORE_MS)
    first = result.footprints[min(MEMORY_FROM, len(result.footprints)) - 1]
    last = result.footprints[-1]
    more_mb, descriptors = last.pss_mb - first.pss_mb, last.descriptors - first.descriptors
    return (
        Line(f"at least {LEAST_REQUESTS} requests", f"{result.requests}", result.requests >= LEAST_REQUESTS),
        Line("0 failed", f"{failed} {result.failed or ''}", failed == 0),
        Line("0 answers of a version that they do not name", f"{result.mixed}", result.mixed == 0),
        Line(
            f"p99 while swapping at most {most_ms:.0f} ms (2x steady, or steady + 60 ms)",
            f"{result.swap_p99_ms:.0f} ms, steady {result.steady_p99_ms:.0f} ms",
            result.swap_p99_ms <= most_ms,
        ),
        Line(
            f"at most {MORE_MEMORY_MB:.0f} MB more after swap {len(result.footprints)} than after swap {MEMORY_FROM}",
            f"{more_mb:+.0f} MB of {first.pss_mb:.0f} MB",
            more_mb <= MORE_MEMORY_MB,
        ),
        Line(
            "no process or descriptor left behind",
            f"{last.children} children, {descriptors:+d} descriptors of {first.descriptors}",
            last.children == ENGINES and descriptors <= MORE_DESCRIPTORS,
        ),
        Line(
            "a rollback within 1 s",
            ", ".join(f"{each:.0f} ms" for each in result.rollback_ms),
            max(result.rollback_ms) < 1000,
        ),
    )


def tell(result: Result) -> None:
    """Print it."""
    print(f"{result.machine}; {result.model}, OpenVINO {result.precision}")
    print(
        f"capacity {result.capacity:.0f}/s, open loop at {result.rate:.0f}/s, {len(result.swap_seconds)} swaps of "
        f"{min(result.swap_seconds):.1f}-{max(result.swap_seconds):.1f} s; p50 {result.steady_p50_ms:.1f} ms steady, "
        f"{result.swap_p50_ms:.1f} ms while swapping, longest {result.longest_ms:.0f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
