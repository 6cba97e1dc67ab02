"""Keeps the engines of all models within the memory budget. LINE A step 3: `memory_policy.py` decides, this file does.

An engine enters through `room` before it starts, whether for the first time or because a request wakes it, and is
measured from then on. All methods belong to the event loop's thread.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from typing import Protocol

from contract.errors import EngineUnavailable, NoRoom
from service.memory_limits import default_budget_bytes, free_memory_bytes, process_memory
from service.memory_policy import Begin, Refuse, Resident, Stage, Stop, beside, has_room, next_step, over_budget
from service.metrics import Metrics

MEASURE_EVERY_S = 3.0
WAKES_AT_ONCE = 2  # each takes a processor for seconds
ASSUMED_BYTES = 500 * 2**20  # until one of its model was measured; one of a tiny network has 276 MB of its own
logger = logging.getLogger(__name__)


class Sleeper(Protocol):
    """A version whose engine can sleep: `loaded_version.LoadedVersion`."""

    model: str
    number: int
    engine_bytes: int | None  # as last measured; kept while it sleeps
    last_used: float

    @property
    def stage(self) -> Stage: ...

    @property
    def can_sleep(self) -> bool: ...

    @property
    def busy(self) -> bool: ...

    @property
    def engine_pid(self) -> int: ...

    def sleep(self) -> None: ...


class EngineMemory:
    """One budget for the engines of all versions.

    Args:
        budget_bytes: 0 for three quarters of what this machine or container has.
    """

    def __init__(self, budget_bytes: int, metrics: Metrics) -> None:
        self._budget_bytes = budget_bytes or default_budget_bytes()
        self._shared_bytes = 0  # TensorFlow's code, which all engines share: 407 MB
        self._metrics = metrics
        self._sleepers: dict[Sleeper, None] = {}
        self._admitted: set[Sleeper] = set()  # on their way through `room`, or through it and not yet awake
        self._pinned: Collection[str] = ()
        self._live: dict[str, Collection[int]] = {}
        self._changed = asyncio.Event()
        self._wakes = asyncio.Semaphore(WAKES_AT_ONCE)
        self._measuring: asyncio.Task[None] | None = None
        metrics.set_memory_budget(self._budget_bytes)

    def add(self, sleeper: Sleeper) -> None:
        """Keep an eye on a version, from before its engine's first start until `remove`."""
        self._sleepers[sleeper] = None
        self._measuring = self._measuring or asyncio.create_task(self._measure_again_and_again())

    def remove(self, sleeper: Sleeper) -> None:
        """Forget a version whose engine has stopped for good."""
        self._sleepers.pop(sleeper, None)
        self._admitted.discard(sleeper)
        self._metrics.set_engine_memory(sleeper.model, sleeper.number, None)
        self.changed()

    def pin(self, models: Collection[str]) -> None:
        """Say which models' live engines never sleep."""
        self._pinned = models

    def set_live(self, model: str, versions: Collection[int]) -> None:
        """Say which versions answer for the model, or are about to; none: it is gone."""
        self._live[model] = versions
        if not versions:
            del self._live[model]

    def admit(self, sleeper: Sleeper, *, whatever_it_takes: bool) -> bool:
        """Let an engine through `room` at once, where there is room or `whatever_it_takes`; nothing is stopped."""
        others = self._residents(sleeper)
        if not whatever_it_takes and not has_room(self._need_bytes(sleeper), others, self._own_budget_bytes):
            return False
        self._admitted.add(sleeper)
        return True

    async def make_way(self, sleeper: Sleeper, *, timeout_s: float) -> None:
        """Admit an engine that is to take over from its model's present one, once both fit; idle others sleep for it.

        Raises:
            NoRoom: both never fit, the machine has no memory left now, or others were busy for `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._make_way(sleeper)
        except TimeoutError as error:
            raise NoRoom(
                f"No room for the engine within {timeout_s:g} s: other models were busy all the time."
            ) from error
        self._admitted.add(sleeper)

    @contextlib.asynccontextmanager
    async def room(self, sleeper: Sleeper) -> AsyncIterator[bool]:
        """Wait until the engine may start, making room for it; inside, start it. False: nobody waits for it any more.

        Raises:
            EngineUnavailable: it fits beside the pinned models never.
        """
        try:
            if sleeper in self._admitted:
                yield True
            else:
                async with self._wakes:
                    yield await self._make_room(sleeper)
            self.measure([sleeper])
        finally:
            self._admitted.discard(sleeper)
            self.changed()

    @property
    def anybody_busy(self) -> bool:
        """Whether requests hold any version now."""
        return any(each.busy for each in self._sleepers)

    def changed(self) -> None:
        """Whoever waits for room looks again: an engine became idle, or has gone."""
        self._changed.set()

    def trim(self) -> None:
        """Put idle engines to sleep while all together take too much."""
        self._put_to_sleep(over_budget(self._residents(), self._own_budget_bytes))

    def measure(self, sleepers: Iterable[Sleeper]) -> None:
        """Measure the engines that are awake."""
        for each in sleepers:
            measured = process_memory(each.engine_pid) if each.stage is Stage.AWAKE else None
            if measured is not None:
                each.engine_bytes = measured.own_bytes
                self._shared_bytes = max(self._shared_bytes, measured.file_bytes)
                self._metrics.set_engine_memory(each.model, each.number, measured.own_bytes)
        self._metrics.set_engine_shared_memory(self._shared_bytes)

    async def close(self) -> None:
        """Stop measuring."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.wait([self._measuring])

    async def _measure_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(MEASURE_EVERY_S)
            try:
                self.measure(self._sleepers)
                self.trim()
                self.changed()
            except Exception:  # a defect of ours costs one look, never all that follow
                logger.exception("Measuring the engines failed.")

    async def _make_way(self, sleeper: Sleeper) -> None:
        while True:
            need_bytes, known = self._need_bytes(sleeper), self._known_bytes(sleeper) is not None
            residents = beside(self._residents(sleeper), sleeper.model)
            self._changed.clear()
            match next_step(need_bytes, residents, self._own_budget_bytes, size_is_known=known):
                case Begin():
                    break
                case Stop(engines):
                    self._put_to_sleep(engines)
                case Refuse(kept_bytes):
                    raise NoRoom(
                        f"The engine takes about {_mebibytes(need_bytes)}, those that must go on meanwhile "
                        f"{_mebibytes(kept_bytes)} and the code that all share {_mebibytes(self._shared_bytes)}; the "
                        f"budget is {_mebibytes(self._budget_bytes)}. Raise RIPEN_MEMORY_BUDGET_BYTES, unpin a model, "
                        "or set RIPEN_SWAP=serial."
                    )
                case _:
                    await self._changed.wait()
        free_bytes = free_memory_bytes()
        if known and free_bytes is not None and need_bytes > free_bytes:
            raise NoRoom(
                f"The engine takes about {_mebibytes(need_bytes)}, and this machine or container has "
                f"{_mebibytes(free_bytes)} left now. Free some memory, or set RIPEN_SWAP=serial."
            )

    async def _make_room(self, sleeper: Sleeper) -> bool:
        while sleeper.busy:
            need_bytes, others = self._need_bytes(sleeper), self._residents(sleeper)
            known = sleeper.engine_bytes is not None
            self._changed.clear()
            match next_step(need_bytes, others, self._own_budget_bytes, size_is_known=known):
                case Begin():
                    self._admitted.add(sleeper)
                    return True
                case Stop(engines):
                    self._put_to_sleep(engines)
                case Refuse(kept_bytes):
                    raise EngineUnavailable(
                        f"it takes {_mebibytes(need_bytes)}, those of pinned models {_mebibytes(kept_bytes)} and the "
                        f"code that all share {_mebibytes(self._shared_bytes)}; the budget is "
                        f"{_mebibytes(self._budget_bytes)}. Raise RIPEN_MEMORY_BUDGET_BYTES or unpin a model."
                    )
                case _:
                    await self._changed.wait()
        return False

    @property
    def _own_budget_bytes(self) -> int:
        """What is left for the engines' own memory beside what they share."""
        return self._budget_bytes - self._shared_bytes

    def _put_to_sleep(self, engines: Collection[Resident]) -> None:
        chosen = {(each.model, each.version) for each in engines}
        for sleeper in self._sleepers:
            if (sleeper.model, sleeper.number) in chosen:
                logger.info("The engine of version %d of %s sleeps now.", sleeper.number, sleeper.model)
                self._metrics.count_engine_sleep(sleeper.model)
                self._metrics.set_engine_memory(sleeper.model, sleeper.number, None)
                sleeper.sleep()

    def _residents(self, without: Sleeper | None = None) -> list[Resident]:
        return [self._resident(each) for each in self._present() if each is not without]

    def _present(self) -> Iterator[Sleeper]:
        """Whose engine has memory or is getting it now: not who still waits for room."""
        return (
            each for each in self._sleepers if each in self._admitted or each.stage in (Stage.AWAKE, Stage.STOPPING)
        )

    def _resident(self, sleeper: Sleeper) -> Resident:
        return Resident(
            sleeper.model,
            sleeper.number,
            size_bytes=self._need_bytes(sleeper),
            stage=Stage.WAKING if sleeper in self._admitted else sleeper.stage,
            live=sleeper.number in self._live.get(sleeper.model, ()),
            pinned=sleeper.model in self._pinned,
            busy=sleeper.busy or not sleeper.can_sleep,
            last_used=sleeper.last_used,
        )

    def _need_bytes(self, sleeper: Sleeper) -> int:
        """What it took last; where it never ran, the most that another version of its model took."""
        return self._known_bytes(sleeper) or ASSUMED_BYTES

    def _known_bytes(self, sleeper: Sleeper) -> int | None:
        if sleeper.engine_bytes is not None:
            return sleeper.engine_bytes
        known = [each.engine_bytes for each in self._sleepers if each.model == sleeper.model and each.engine_bytes]
        return max(known, default=None)


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
