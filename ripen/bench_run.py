"""`ripen bench`, without its options: from URL and loads to a report. Neither line."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from ripen.bench_grpc import GrpcTarget, classify
from ripen.bench_http import HttpTarget
from ripen.bench_images import draw_images, read_images
from ripen.bench_plan import Plan, Target
from ripen.bench_report import COLUMNS, Report, cells, describe, remarks
from ripen.bench_session import Measured, Session, run_session
from ripen.bench_swaps import Swapper
from ripen.client import Client
from ripen.credentials import CA_VARIABLE, authorization
from ripen.display import SHOWN_REJECTED, Screen

HTTP, GRPC = ("http", "https"), ("grpc", "grpcs")
GRPC_PORT = 8500


@dataclass(frozen=True)
class Wanted:
    """What to measure.

    Attributes:
        url: http(s)://HOST:PORT for our REST, or grpc(s)://HOST:PORT for ripen.v1.
        images: a folder; None draws some.
        version: None asks the live one.
        plans: one load each.
        swap_every_s: None swaps nothing.
    """

    url: str
    images: Path | None
    version: int | None
    plans: tuple[Plan, ...]
    swap_every_s: float | None


def measure(client: Client, screen: Screen, wanted: Wanted) -> Report:
    """Measure and print.

    Args:
        client: where versions are promoted; where `wanted` is REST, that is used instead.

    Raises:
        InvalidFolder, InvalidCredentials, CannotMeasure, ServiceUnreachable, ApiError
    """
    over_rest = urlsplit(wanted.url).scheme in HTTP
    done: list[Measured] = []
    with Client(wanted.url if over_rest else client.url, client.model) as rest:
        if over_rest:
            rest.get_model()  # says in one line what is wrong with URL, key or model
        images = draw_images() if wanted.images is None else _read_folder(screen, wanted.images)
        swapper = Swapper(rest, wanted.swap_every_s) if wanted.swap_every_s else None
        target = partial(make_target, wanted.url, client.model, wanted.version)
        with screen.counting("measuring, in seconds") as on_progress:
            session = Session(target, images, wanted.plans, swapper)
            run = run_session(session, done, lambda over_s, all_s: on_progress(round(over_s), round(all_s)))
            complete = asyncio.run(run)
    rows = tuple(describe(one, swapped=swapper is not None) for one in done)
    report = Report(wanted.url, rows, interrupted=not complete)
    screen.show(report, lambda: _draw(screen, report, done))
    return report


def make_target(url: str, model: str, version: int | None) -> Target:
    """Whom to ask: `predict` of our REST, or `Classify` of ripen.v1.

    Raises:
        ServiceUnreachable, InvalidCredentials, CannotMeasure
    """
    parts, key = urlsplit(url), authorization(None)
    if parts.scheme in GRPC:
        address = parts.netloc if parts.port else f"{parts.netloc}:{GRPC_PORT}"
        tls, metadata = parts.scheme == "grpcs", {name.lower(): value for name, value in key.items()}
        trust = os.environ.get(CA_VARIABLE)
        return GrpcTarget(address, classify(model, version), metadata=metadata, tls=tls, trust=trust)
    query = urlencode({"model": model, **({"version": version} if version else {})})
    return HttpTarget(f"{url.rstrip('/')}/api/v1/predict?{query}", headers=key)


def _read_folder(screen: Screen, folder: Path) -> Sequence[bytes]:
    found = read_images(folder)
    for path in found.skipped[:SHOWN_REJECTED]:
        screen.say(f"{path} is no JPEG, PNG or WebP image and is left out", "yellow")
    if len(found.skipped) > SHOWN_REJECTED:
        screen.say(f"... and {len(found.skipped) - SHOWN_REJECTED} more", "yellow")
    return found.images


def _draw(screen: Screen, report: Report, done: Sequence[Measured]) -> None:
    screen.table(COLUMNS, (cells(row.load) for row in report.rows))
    messages = {code: text for one in reversed(done) for code, text in one.load.messages.items()}
    for remark in remarks(report.rows, messages):
        screen.say(remark)
