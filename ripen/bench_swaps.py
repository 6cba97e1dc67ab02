"""Swaps under load: puts two versions live in turn, and notes when. Neither line: a client of LINE B step 5."""

import asyncio
import time
from dataclasses import dataclass

from ripen.answers import Versions
from ripen.client import Client
from ripen.errors import CannotMeasure, RipenClientError

LOOK_EVERY_S = 0.1
LONGEST_SWAP_S = 180.0
REASON = "ripen bench --swap-every"


@dataclass(frozen=True)
class Swap:
    """One promotion.

    Attributes:
        version: that was to be live.
        asked_s: of `time.perf_counter`, when it was asked for.
        live_s: when it was live; None where the load was over before, or it failed.
        failure: why it did not become live.
    """

    version: int
    asked_s: float
    live_s: float | None = None
    failure: str = ""


class Swapper:
    """Promotes the previous live version and back.

    Args:
        client: of the model.
        every_s: from one promotion to the next; later where a swap takes longer.

    Raises:
        CannotMeasure: no version is live, or there is none to swap it with.
    """

    def __init__(self, client: Client, every_s: float) -> None:
        self._client = client
        self._every_s = every_s
        self._first, self._second = _pair(client.versions(), client.model)

    async def run(self, over: asyncio.Event) -> tuple[Swap, ...]:
        """Swap until `over` is set, or a swap fails."""
        swaps: list[Swap] = []
        wanted, other = self._second, self._first
        next_s = time.perf_counter() + self._every_s
        while not await _is_set_within(over, next_s - time.perf_counter()):
            swaps.append(await self._swap(wanted, over))
            if swaps[-1].failure:
                break
            wanted, other = other, wanted
            next_s = max(next_s + self._every_s, time.perf_counter())
        return tuple(swaps)

    async def restore(self) -> None:
        """Make the version live that was live at the beginning, if another is or is to be.

        Raises:
            CannotMeasure: it did not become live.
        """
        told = await asyncio.to_thread(self._client.versions)
        if told.live == told.aspired == self._first:
            return
        swap = await self._swap(self._first, asyncio.Event())
        if swap.failure:
            raise CannotMeasure(f"Version {self._first}, which was live before, is not live again: {swap.failure}")

    async def _swap(self, version: int, over: asyncio.Event) -> Swap:
        asked_s = time.perf_counter()
        try:
            await asyncio.to_thread(self._client.promote, version, REASON)
            while not over.is_set():
                told = await asyncio.to_thread(self._client.versions)
                now_s = time.perf_counter()
                if told.live == version:
                    return Swap(version, asked_s, now_s)
                failure = _failure(told, version, now_s - asked_s)
                if failure:
                    return Swap(version, asked_s, failure=failure)
                await asyncio.sleep(LOOK_EVERY_S)
        except RipenClientError as error:
            return Swap(version, asked_s, failure=str(error))
        return Swap(version, asked_s)


def _pair(told: Versions, model: str) -> tuple[int, int]:
    """The live version, and the one that was live before it or else the newest other one."""
    others = [one.version for one in told.versions if one.version != told.live and one.pruned_at is None]
    if told.live is None or not others:
        raise CannotMeasure(
            f"Model {model!r} has {'no live version' if told.live is None else 'only one version'}; "
            "--swap-every needs a live one and another to swap it with."
        )
    before = [change.replaced for change in told.history[:1] if change.replaced in others]
    return told.live, before[0] or others[0] if before else others[0]


def _failure(told: Versions, version: int, waited_s: float) -> str:
    status = next((one.status for one in told.versions if one.version == version), None)
    if status is not None and status.error_code != "OK":
        return status.message or status.error_code
    if told.aspired != version:
        return f"version {told.aspired} was put live meanwhile"
    return f"it was not live within {LONGEST_SWAP_S:g} s" if waited_s > LONGEST_SWAP_S else ""


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    except TimeoutError:
        return False
    return True
