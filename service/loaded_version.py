"""A version that can answer: its manifest, its queue, its engine, and how many requests hold it. LINE A step 3.

Its engine may sleep: requests then wait in the queue, under its limits and their deadlines, until it has woken.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from contract.artifact import Manifest
from contract.errors import Overloaded, RipenError
from contract.parity import ParityPolicy
from contract.records import Version
from contract.settings import Settings
from service.batcher import Batcher
from service.engine import Engine
from service.engine_keeper import EngineKeeper
from service.engine_memory import EngineMemory
from service.engine_wire import Capacity, EngineImage, LoadOrder
from service.memory_policy import Stage
from service.metrics import Metrics
from service.runtime_choice import Wish
from service.version_health import Health

logger = logging.getLogger(__name__)
LEAST_STUCK_S = 60.0  # the largest batch of the largest network takes 10 s on 2 cores


class LoadedVersion:
    """Answers until `stop`. It begins asleep; `wake` or the first request starts its engine.

    Args:
        record: its database row.
        folder: its published folder; the engine reads and checks it.
        manifest: the folder's.
        memory: gives the engine its room.
        settings: limits of queue, images and times.
        metrics: counts batches and restarts.

    Attributes:
        on_change: called when the engine has woken, could not wake, or has gone to sleep.
    """

    def __init__(
        self,
        record: Version,
        folder: Path,
        manifest: Manifest,
        *,
        memory: EngineMemory,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.manifest = manifest
        self.on_change: Callable[[], None] = lambda: None
        self.model, self.number = record.model, record.number
        self.engine_bytes: int | None = None
        self.last_used = asyncio.get_running_loop().time()
        self._memory = memory
        order = _load_order(record, folder, settings)

        async def start() -> Engine:
            engine, _ = await Engine.start(order, timeout_s=settings.load_timeout_s, busy=self._others_are_busy)
            tell_runtime(record, engine.capacity, metrics)
            return engine

        self._keeper = EngineKeeper(
            start,
            room=lambda: memory.room(self),
            stuck_s=max(LEAST_STUCK_S, settings.request_timeout_s),
            on_restart=lambda: metrics.count_engine_restart(record.model, record.number),
            on_change=lambda: self.on_change(),  # noqa: PLW0108  # it is set later
        )
        self._batcher = Batcher(self._keeper, settings, metrics=metrics, model=record.model, version=record.number)
        self._leases = 0
        self._unused = asyncio.Event()
        self._unused.set()
        memory.add(self)

    @property
    def engine_pid(self) -> int:
        """The engine's process; raises EngineUnavailable while it sleeps."""
        return self._keeper.pid

    @property
    def stage(self) -> Stage:
        return self._keeper.stage

    @property
    def can_sleep(self) -> bool:
        return self._keeper.can_sleep

    @property
    def busy(self) -> bool:
        """Whether requests hold it."""
        return self._leases > 0

    def _others_are_busy(self) -> bool:
        """Whether requests are under way, and none of them waits for this engine."""
        return not self.busy and self._memory.anybody_busy

    @property
    def health(self) -> Health:
        """How it has done since it took over."""
        return self._keeper.health

    @property
    def trouble(self) -> str:
        """Why there is no engine although there should be one; empty while there is one, and while it just sleeps."""
        return self._keeper.trouble

    @property
    def failure(self) -> RipenError | None:
        """Why the engine could not wake, the last time that it was tried."""
        return self._keeper.failure

    async def wake(self) -> None:
        """Wait until the engine is awake; whoever calls this has had it admitted by `memory`.

        Raises:
            BrokenVersion: it must not serve; says why.
        """
        await self._keeper.available()
        if self._keeper.failure is not None:
            raise self._keeper.failure

    def rouse(self) -> None:
        """As `wake`, without waiting."""
        self._keeper.rouse()

    def sleep(self) -> None:
        """Stop the engine until the next request. Only while it `can_sleep` and is not `busy`."""
        self._keeper.sleep()

    @property
    def capacity(self) -> Capacity:
        """What its engine takes, and which runtime it is."""
        return self._keeper.capacity

    def too_late(self, left_s: float) -> Overloaded | None:
        """Why a request that came now, with `left_s` to go, would not be answered in time; None: it may be."""
        return self._batcher.too_late(left_s)

    async def infer(self, images: Sequence[EngineImage], deadline: float) -> list[float | RipenError]:
        """Per image P(`classes[1]`) or the error of this image alone; raises as `Batcher.submit`."""
        return await self._batcher.submit(images, deadline)

    @contextlib.contextmanager
    def hold(self) -> Iterator["LoadedVersion"]:
        """Keep the version from being stopped, and its engine from sleeping, meanwhile."""
        self._leases += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._leases -= 1
            self.last_used = asyncio.get_running_loop().time()
            if not self._leases:
                self._unused.set()
                self._memory.changed()

    async def drain(self, timeout_s: float) -> None:
        """Wait until nobody holds the version, at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._unused.wait()

    async def stop(self) -> None:
        """End queue and engine; the memory goes back to the system."""
        await self._batcher.stop()
        await self._keeper.stop()
        self._memory.remove(self)


def tell_runtime(record: Version, capacity: Capacity, metrics: Metrics) -> None:
    """Say in metrics and log what the engine runs on, and why on nothing faster."""
    metrics.set_engine_runtime(record.model, record.number, capacity.runtime)
    because = f" ({'; '.join(capacity.notes)})" if capacity.notes else ""
    logger.info("Version %d of %s runs on %s%s.", record.number, record.model, capacity.runtime, because)


def _load_order(record: Version, folder: Path, settings: Settings) -> LoadOrder:
    return LoadOrder(
        record.model,
        record.number,
        folder=str(folder),
        manifest_sha256=record.manifest_sha256,
        max_batch_size=settings.max_batch_size,
        threads=settings.engine_threads,
        max_image_bytes=settings.max_image_bytes,
        max_image_pixels=settings.max_image_pixels,
        wish=Wish(
            settings.runtime,
            settings.precision,
            ParityPolicy(settings.parity_flipped_share, settings.parity_flip_distance, settings.parity_accuracy_errors),
        ),
    )
