"""One `ripen bench`: its loads one after the other, with swaps where they are asked for, until Ctrl-C. Neither line."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ripen.bench_load import run_load
from ripen.bench_plan import Plan, Target
from ripen.bench_result import LoadResult
from ripen.bench_swaps import Swap, Swapper
from ripen.errors import ApiError, ServiceUnreachable

TELL_EVERY_S = 0.2
PASSING = ("429", "504", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")  # a busy service is worth a load
OnProgress = Callable[[float, float], None]  # seconds that are over, seconds in all


@dataclass(frozen=True)
class Measured:
    """One load and the swaps that happened meanwhile."""

    load: LoadResult
    swaps: tuple[Swap, ...]


@dataclass(frozen=True)
class Session:
    """What is to be measured.

    Attributes:
        target: makes whom to ask; called once, within the event loop.
        images: encoded.
        plans: one load each.
        swapper: None swaps nothing.
    """

    target: Callable[[], Target]
    images: Sequence[bytes]
    plans: Sequence[Plan]
    swapper: Swapper | None = None


async def run_session(session: Session, done: list[Measured], on_progress: OnProgress) -> bool:
    """Measure every plan; each result is added to `done` at once. Ctrl-C ends the load under way and all others.

    Returns:
        Whether all were measured to their ends.

    Raises:
        ServiceUnreachable, ApiError: the first image gets no answer.
        CannotMeasure: the version that was live before could not be made live again.
    """
    stop = asyncio.Event()
    _listen_for_interrupt(stop)
    target = session.target()
    telling = asyncio.ensure_future(_tell(session.plans, on_progress))
    try:
        await _try_once(target, session.images[0])
        for plan in session.plans:
            if not stop.is_set():
                done.append(await _measure(session, target, plan, stop))
    finally:
        telling.cancel()
        await target.close()
    return not stop.is_set()


async def _measure(session: Session, target: Target, plan: Plan, stop: asyncio.Event) -> Measured:
    swapper = session.swapper
    if swapper is None:
        return Measured(await run_load(target, session.images, plan, stop=stop), ())
    over = asyncio.Event()
    swapping = asyncio.ensure_future(swapper.run(over))
    try:
        load = await run_load(target, session.images, plan, stop=stop)
        over.set()
        return Measured(load, await swapping)
    finally:
        over.set()
        await asyncio.wait([swapping])
        await swapper.restore()


async def _try_once(target: Target, image: bytes) -> None:
    """Ask once, so that a wrong key or model is one line and no table of errors."""
    sender = target.sender()
    try:
        await sender.open()
        answer = await sender.send(target.encode(image))
    finally:
        await sender.close()
    if not answer.code or answer.code.startswith(PASSING):
        return
    status, _, name = answer.code.partition(" ")
    if not name:
        raise ServiceUnreachable(answer.message or answer.code)
    raise ApiError(name, answer.message, status=int(status) if status.isdecimal() else 0)


async def _tell(plans: Sequence[Plan], on_progress: OnProgress) -> None:
    began_s = time.perf_counter()
    total_s = sum(plan.warm_up_s + plan.duration_s for plan in plans)
    while True:
        on_progress(min(total_s, time.perf_counter() - began_s), total_s)
        await asyncio.sleep(TELL_EVERY_S)


def _listen_for_interrupt(stop: asyncio.Event) -> None:
    """The first Ctrl-C ends the load in order; a second one is Python's own again."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    with suppress(ValueError, RuntimeError):  # not in the main thread, or a system without: then it is Python's own
        loop.add_signal_handler(signal.SIGINT, interrupt)
