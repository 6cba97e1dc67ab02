"""The serving table: limits, Ripen over each protocol, and the peers, in one run, interleaved.

usage: python -m benchmarks.serving [--photos FOLDER] [--models MobileNetV2 ...] [--quick]      (`make bench-serving`)

Each round measures every limit, Ripen at every precision, and, in the first rounds, TensorFlow and every peer; servers
run one at a time and are asked over loopback with 1, 8 and 32 requests under way. Prints the table and which promised
lines hold and writes benchmarks/results/serving-<network>.json and .svg (elsewhere where --quick), after each network;
exits 1 where a line falls short.
"""

import argparse
import asyncio
import signal
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import bench_versions, limits, machine, peer_servers, ripen_server, serving_chart
from benchmarks.bench_versions import BACKBONES, BenchVersions
from benchmarks.closed_loop import Load, run
from benchmarks.limits import ALONE, Arrangement, Limit, Order
from benchmarks.peer_servers import PEERS, Peer, PeerFailed
from benchmarks.process_tree import ProcessTree
from benchmarks.ripen_server import RunningRipen
from benchmarks.serving_requests import RIPEN, Asking, asking
from benchmarks.serving_result import LIMIT, PLAIN, Case, Row, Sample, Start, Verdict, judge, summarize
from contract.openvino_model import Precision
from contract.records import RuntimeChoice

RESULTS = Path(__file__).with_name("results")
CONCURRENCIES = (8, 32)  # of our REST; gRPC is promised at the last only
PEER_CONCURRENCIES = (8, 32)
ALONE_TURNS = 4  # per round, of one image at a time
ROUNDS, PEER_ROUNDS = 5, 3
SECONDS = {"MobileNetV2": 4.0}  # per figure; the slower networks need more of them for as many answers
SLOW_SECONDS = 5.0
ALL_PEERS = "MobileNetV2"  # the others are measured beside plain FastAPI only: an hour less
RUNTIMES = (
    *((RuntimeChoice.OPENVINO, precision) for precision in (Precision.F32, Precision.BF16, Precision.INT8)),
    (RuntimeChoice.TENSORFLOW, Precision.F32),
)
MB = 1e6


@dataclass(frozen=True)
class Options:
    """What is measured, and for how long."""

    backbones: tuple[str, ...]
    peers: tuple[str, ...]
    photos: Path | None
    cache: Path
    rounds: int
    peer_rounds: int
    seconds: float | None
    results: Path

    def seconds_of(self, backbone: str) -> float:
        return self.seconds or SECONDS.get(backbone, SLOW_SECONDS)


class Bench:
    """One network's run; `samples`, `starts`, `skipped` and `arrangements` are what it found."""

    def __init__(self, backbone: str, options: Options, console: Console) -> None:
        self.backbone = backbone
        self.options = options
        self.samples: dict[Case, list[Sample]] = defaultdict(list)
        self.starts: list[Start] = []
        self.skipped: dict[str, str] = {}
        self.arrangements: dict[str, str] = {}
        self._console = console
        self._best: dict[tuple[RuntimeChoice, Precision], Arrangement] = {}

    def run(self) -> None:
        """All rounds."""
        versions = bench_versions.prepare(self.backbone, cache=self.options.cache, photos=self.options.photos)
        for number in range(self.options.rounds):
            self._console.print(f"{datetime.now(UTC):%H:%M:%S} {self.backbone}, round {number + 1}")
            for runtime, precision in RUNTIMES:
                if runtime is RuntimeChoice.TENSORFLOW and number >= self.options.peer_rounds:
                    continue  # nothing is promised of it
                order = self._order(versions, runtime, precision)
                self._measure_limit(order)
                self._measure_ripen(versions, order)
            if number < self.options.peer_rounds:
                self._measure_peers(versions)

    def _order(self, versions: BenchVersions, runtime: RuntimeChoice, precision: Precision) -> Order:
        images = versions.home.parent.parent / "images"
        seconds = self.options.seconds_of(self.backbone)
        return Order(versions.folders[0], images, bench_versions.SIDE, runtime, precision, ALONE, seconds=seconds)

    def _measure_limit(self, order: Order) -> None:
        key = (order.runtime, order.precision)
        if key not in self._best:
            self._best[key] = limits.find_best(order)
            self.arrangements[" ".join(key)] = str(self._best[key])
        self._keep_limit(order, 0, limits.measure(replace(order, arrangement=self._best[key])))

    def _measure_ripen(self, versions: BenchVersions, order: Order) -> None:
        runtime, precision = order.runtime, order.precision
        with ripen_server.started(versions.home, runtime, precision) as running:
            self._measure_alone(versions, order, running)
            for protocol in RIPEN:
                for concurrency in CONCURRENCIES if protocol.content_type else CONCURRENCIES[-1:]:
                    case = Case(self.backbone, "Ripen", protocol.name, runtime, precision, concurrency)
                    address = running.rest_address if protocol.content_type else running.grpc_address
                    load = self._ask(versions, protocol, address, concurrency)
                    self._keep(case, self._load(versions, case, protocol, load, running.tree))
            front, engine = running.memory_bytes()
            if runtime is RuntimeChoice.OPENVINO:
                self.starts.append(Start(versions.backbone, precision, running.start_s, front / MB, engine / MB))

    def _measure_alone(self, versions: BenchVersions, order: Order, running: RunningRipen) -> None:
        """One image at a time, in process and over REST in turns: a neighbour's noise outlasts a turn."""
        turn_s = order.seconds / ALONE_TURNS
        case = Case(self.backbone, "Ripen", RIPEN[0].name, order.runtime, order.precision, 1)
        load = replace(self._ask(versions, RIPEN[0], running.rest_address, 1), seconds=turn_s)
        with limits.in_turns(replace(order, seconds=turn_s)) as limit:
            for _ in range(ALONE_TURNS):
                self._keep_limit(order, 1, limit())
                self._keep(case, self._load(versions, case, RIPEN[0], load, running.tree))

    def _measure_peers(self, versions: BenchVersions) -> None:
        for peer in PEERS:
            if peer.name not in self.options.peers or (versions.backbone != ALL_PEERS and peer.name != PLAIN):
                continue
            for runtime in peer.runtimes:
                precisions = (
                    (Precision.F32,) if runtime is RuntimeChoice.TENSORFLOW else (Precision.F32, Precision.BF16)
                )
                for precision in precisions:
                    self._measure_peer(peer, versions, runtime, precision)

    def _measure_peer(self, peer: Peer, versions: BenchVersions, runtime: RuntimeChoice, precision: Precision) -> None:
        name = f"{peer.name} {runtime} {precision}"
        try:
            with peer_servers.started(peer, versions, runtime, precision, cache=self.options.cache) as running:
                protocol = asking(running)
                address = f"127.0.0.1:{running.second_port if peer.grpc else running.port}"
                for concurrency in PEER_CONCURRENCIES:
                    case = Case(versions.backbone, peer.name, protocol.name, runtime, precision, concurrency)
                    load = self._ask(versions, protocol, address, concurrency)
                    self._keep(case, self._load(versions, case, protocol, load, running.tree))
        except PeerFailed as error:
            self.skipped[name] = str(error)
            self._console.print(f"  {name}: left out of this round, it did not become ready")

    def _ask(self, versions: BenchVersions, protocol: Asking, address: str, concurrency: int) -> Load:
        requests = tuple(protocol.encode(image) for image in versions.images)
        seconds = self.options.seconds_of(self.backbone)
        return Load(address, protocol.path, protocol.content_type, requests, concurrency, seconds)

    def _load(self, versions: BenchVersions, case: Case, protocol: Asking, load: Load, tree: ProcessTree) -> Sample:
        record = asyncio.run(run(load, tree.cpu_s))
        wrong = len(record.errors)
        for image, answer in record.answers:
            wrong += not _right(versions, case, image, *protocol.decode(answer))
        if wrong:
            said = record.errors[0] if record.errors else "another version's probability"
            self._console.print(f"  {case.server} {case.protocol} {case.precision}: {wrong} errors, such as {said}")
        count = len(record.answers) or 1
        latencies = np.asarray(record.latencies_s or [float("nan")]) * 1000
        p50, p99 = (float(value) for value in np.percentile(latencies, (50, 99)))
        return Sample(len(record.answers) / record.seconds, record.cpu_s / count * 1000, p50, p99, wrong)

    def _keep_limit(self, order: Order, concurrency: int, limit: Limit) -> None:
        case = Case(self.backbone, LIMIT, "", order.runtime, order.precision, concurrency)
        self._keep(case, Sample(limit.images_per_s, limit.cpu_ms, limit.p50_ms, 0.0, 0))

    def _keep(self, case: Case, sample: Sample) -> None:
        self.samples[case].append(sample)
        what = f"{case.server} {case.protocol} {case.runtime} {case.precision} x{case.concurrency}"
        self._console.print(f"  {what:60} {sample.images_per_s:8.1f}/s {sample.p50_ms:7.2f} ms", highlight=False)


def _right(versions: BenchVersions, case: Case, image: int, version: int, probability: float) -> bool:
    """Whether version 1 answers so; Pillow resizes otherwise: of a peer on TensorFlow any probability will do."""
    if version == 0 and case.runtime is RuntimeChoice.TENSORFLOW:
        return 0.0 < probability < 1.0
    return version in (0, 1) and versions.version_of(image, probability) == 1


def main() -> int:
    """Measure, print, write; 1 where a promised line falls short."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended then, too
    console = Console(width=150)
    options = _read_options()
    for name in options.peers:
        peer = next(peer for peer in PEERS if peer.name == name)
        peer_servers.prepare_environment(peer, options.cache)
    holds = True
    for backbone in options.backbones:
        bench = Bench(backbone, options, console)
        bench.run()
        holds &= _report(bench, console)
    return 0 if holds else 1


def _report(bench: Bench, console: Console) -> bool:
    """Print and write what came of one network; whether all its lines hold."""
    rows = summarize(bench.samples)
    verdicts = judge(rows, bench.starts, [peer.name for peer in PEERS if peer.framework])
    _print_table(console, rows)
    _print_verdicts(console, verdicts)
    _write(bench, rows, verdicts)
    return all(verdict.holds for verdict in verdicts)


def _read_options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--models", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--peers", nargs="*", choices=names, default=names)
    parser.add_argument("--photos", type=Path, help="a folder with at least 200 JPEGs; without it they are drawn")
    parser.add_argument("--cache", type=Path, default=bench_versions.CACHE)
    parser.add_argument(
        "--quick", action="store_true", help="one round of a second per figure: to try it, not to quote"
    )
    given = parser.parse_args()
    rounds, peer_rounds, seconds = (1, 1, 1.0) if given.quick else (ROUNDS, PEER_ROUNDS, None)
    results = given.cache / "runs" if given.quick else RESULTS  # figures of a second are not worth keeping
    times = (rounds, peer_rounds, seconds)
    return Options(tuple(given.models), tuple(given.peers), given.photos, given.cache, *times, results)


def _print_table(console: Console, rows: Sequence[Row]) -> None:
    columns = (
        "server",
        "protocol",
        "runtime",
        "at once",
        "images/s",
        "lowest",
        "highest",
        "CPU ms",
        "p50 ms",
        "p99 ms",
    )
    table = Table(*columns, title=f"{rows[0].case.backbone} on {machine.describe()}")
    for row in rows:
        case, rates = row.case, (row.images_per_s, row.lowest, row.highest)
        told = (case.server, case.protocol, f"{case.runtime}-{case.precision}", str(case.concurrency or "best"))
        times = (row.cpu_ms, row.p50_ms, row.p99_ms)
        table.add_row(*told, *(f"{rate:.1f}" for rate in rates), *(f"{value:.2f}" for value in times))
    console.print(table)


def _print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    table = Table("line", "measured", "wanted", "holds")
    for verdict in verdicts:
        wanted = f"{'at least' if verdict.at_least else 'at most'} {verdict.wanted:g}"
        table.add_row(verdict.line, f"{verdict.figure:.2f}", wanted, "yes" if verdict.holds else "NO")
    console.print(table)


def _write(bench: Bench, rows: Sequence[Row], verdicts: Sequence[Verdict]) -> None:
    """The JSON and the chart."""
    results = bench.options.results
    results.mkdir(parents=True, exist_ok=True)
    told = machine.describe()
    result = {
        "measured_at": datetime.now(UTC),
        "machine": told,
        "peers": {peer.name: peer.packages for peer in PEERS},
        "left_out": bench.skipped,
        "arrangements": bench.arrangements,
        "rows": rows,
        "starts": bench.starts,
        "verdicts": verdicts,
        "falls_short": [verdict.line for verdict in verdicts if not verdict.holds],
    }
    file = results / f"serving-{bench.backbone}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    serving_chart.draw(file.with_suffix(".svg"), rows, told)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
