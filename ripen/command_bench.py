"""`ripen bench`: how fast a running service answers, and what its clients notice of a swap. Neither line."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from ripen.bench_plan import ClosedLoop, OpenLoop, Plan
from ripen.client import Client
from ripen.display import Screen
from ripen.options import EXIT_REFUSED, with_client

DEFAULT_CONCURRENCY = (1, 8, 32)
SCHEMES = ("http", "https", "grpc", "grpcs")
EXIT_INTERRUPTED = 130
positive = click.FloatRange(0, min_open=True)


@dataclass(frozen=True)
class _Loads:
    """What the options say of the loads."""

    concurrency: tuple[int, ...]
    rate: tuple[float, ...]
    duration: float
    warm_up: float

    def plans(self) -> tuple[Plan, ...]:
        """One per concurrency and rate."""
        callers = self.concurrency or (() if self.rate else DEFAULT_CONCURRENCY)
        times = (self.duration, self.warm_up)
        return (*(ClosedLoop(one, *times) for one in callers), *(OpenLoop(one, *times) for one in self.rate))


@click.command()
@click.argument("target", required=False, metavar="[URL]")
@click.option("--images", type=click.Path(path_type=Path), metavar="DIR", help="What to send; if left out, drawings.")
@click.option("--version", type=click.IntRange(1), help="A loaded version; the live one if left out.")
@click.option("--concurrency", type=click.IntRange(1, 4096), multiple=True, help="Requests under way. Repeatable.")
@click.option("--rate", type=positive, multiple=True, help="Requests per second, come what may. Repeatable.")
@click.option("--duration", type=positive, default=10.0, show_default=True, help="Seconds to measure, for each load.")
@click.option("--warm-up", type=click.FloatRange(0), default=2.0, show_default=True, help="Seconds before these.")
@click.option("--swap-every", type=positive, help="Promote the previous version and back, each so many seconds.")
@with_client
def bench(
    client: Client,
    screen: Screen,
    /,
    *,
    target: str | None,
    images: Path | None,
    version: int | None,
    swap_every: float | None,
    **loads: tuple[float, ...] | float,
) -> None:
    """Measure a running service. Example: ripen bench --concurrency 32

    URL is http(s)://HOST:PORT for our REST (if left out: --url), or grpc(s)://HOST:PORT for ripen.v1. With --rate,
    latency counts from the moment when a request was due, so that a stall is seen by all that it delays. --swap-every
    promotes over REST at --url; what was live before is live again at the end. Ctrl-C prints what there is.
    """
    from ripen.bench_run import Wanted, measure  # noqa: PLC0415  # numpy and OpenCV, which no other command needs

    url = target or client.url
    if urlsplit(url).scheme not in SCHEMES:
        raise click.UsageError(f"{url!r} cannot be measured; expected http(s)://HOST:PORT or grpc(s)://HOST:PORT.")
    plans = _Loads(**loads).plans()  # type: ignore[arg-type]  # click has checked them
    report = measure(client, screen, Wanted(url, images, version, plans, swap_every))
    if report.interrupted:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    if not report.sound:
        raise click.exceptions.Exit(EXIT_REFUSED)
