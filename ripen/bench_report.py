"""What `ripen bench` prints of its loads: rows for people, one document for programs. Neither line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ripen.bench_result import Latency, Summary
from ripen.bench_session import Measured

AFTER_SWAP_S = 1.0  # a swap's window ends so long after the version went live
NOTABLY_LATE_MS = 5.0
COLUMNS = ("load", "answers/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "errors")


@dataclass(frozen=True)
class SwapSummary:
    """Swaps under one load. Windows reach from a promotion until AFTER_SWAP_S after its version went live.

    Attributes:
        count: versions that went live.
        longest_s: from the promotion until live.
        during, steady: latencies of requests that touched a window, and of the others.
        failed_during: requests that touched a window and got no right answer.
        failures: of swaps, in words.
    """

    count: int
    longest_s: float
    during: Latency | None
    steady: Latency | None
    failed_during: int
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One load in figures."""

    load: Summary
    swaps: SwapSummary | None


@dataclass(frozen=True)
class Report:
    """All loads; `interrupted` where Ctrl-C ended them."""

    target: str
    rows: tuple[Row, ...]
    interrupted: bool

    @property
    def sound(self) -> bool:
        """Whether every load was answered at all, and every swap came about."""
        return all(row.load.latency and not (row.swaps and row.swaps.failures) for row in self.rows)


def describe(measured: Measured, *, swapped: bool) -> Row:
    """The figures of one load; `swapped` says whether swaps were asked for."""
    return Row(measured.load.summary(), _describe_swaps(measured) if swapped else None)


def _describe_swaps(measured: Measured) -> SwapSummary:
    load, swaps = measured.load, measured.swaps
    samples = load.measured
    touched = np.zeros(len(samples), bool)
    for swap in swaps:
        end_s = float("inf") if swap.live_s is None else swap.live_s + AFTER_SWAP_S - load.began_s
        touched |= samples.under_way(swap.asked_s - load.began_s, end_s)
    during = samples.where(touched)
    return SwapSummary(
        count=sum(swap.live_s is not None for swap in swaps),
        longest_s=max((swap.live_s - swap.asked_s for swap in swaps if swap.live_s is not None), default=0.0),
        during=during.latency(),
        steady=samples.where(~touched).latency(),
        failed_during=int((~during.right).sum()),
        failures=tuple(f"version {swap.version}: {swap.failure}" for swap in swaps if swap.failure),
    )


def cells(row: Summary) -> tuple[str, ...]:
    """A row of the table, as COLUMNS."""
    name = f"{row.concurrency} at once" if row.rate is None else f"{row.rate:g}/s"
    latency = row.latency
    times = (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms) if latency else ()
    shown = [f"{time_ms:.1f}" for time_ms in times] or ["-"] * 5
    return (name, f"{row.throughput:.1f}", *shown, f"{sum(row.errors.values())}")


def remarks(rows: Sequence[Row], messages: dict[str, str]) -> Iterator[str]:
    """What the table does not say: kinds of errors, swaps, and a generator that was late.

    Args:
        messages: error code -> what came with the first one.
    """
    for row in rows:
        name = cells(row.load)[0]
        for code, count in row.load.errors.items():
            yield f"{name}: {count} times {code}{f' ({messages[code]})' if messages.get(code) else ''}"
        if row.load.late_p99_ms > NOTABLY_LATE_MS:
            late = f"{row.load.late_p99_ms:.0f} ms late in 1 of 100 cases"
            yield f"{name}: requests were sent {late}, because this machine is busy; that is part of the times"
        if row.swaps is not None:
            yield from _swap_remarks(name, row.load, row.swaps)


def _swap_remarks(name: str, load: Summary, swaps: SwapSummary) -> Iterator[str]:
    yield (
        f"{name}: {swaps.count} swaps, the longest took {swaps.longest_s:.1f} s; p99 {_p99(swaps.during)} around them, "
        f"{_p99(swaps.steady)} otherwise; {swaps.failed_during} requests failed around them"
    )
    yield f"{name}: " + ", ".join(f"version {one} answered {count}" for one, count in load.versions.items())
    yield from (f"{name}: a swap failed, {failure}" for failure in swaps.failures)


def _p99(latency: Latency | None) -> str:
    return f"{latency.p99_ms:.1f} ms" if latency else "-"
