"""A version that can answer: its manifest, its queue, its engine, and how many requests hold it. LINE A step 3."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from contract.artifact import Manifest
from contract.errors import RipenError
from contract.records import Version
from contract.settings import Settings
from service.batcher import Batcher
from service.engine import Engine
from service.engine_keeper import EngineKeeper
from service.engine_wire import EngineImage, LoadOrder
from service.metrics import Metrics

LEAST_STUCK_S = 60.0  # the largest batch of the largest network takes 10 s on 2 cores


class LoadedVersion:
    """Made by `load`; answers until `stop`."""

    def __init__(self, manifest: Manifest, keeper: EngineKeeper, batcher: Batcher) -> None:
        self.manifest = manifest
        self._keeper = keeper
        self._batcher = batcher
        self._leases = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @classmethod
    async def load(cls, version: Version, folder: Path, *, settings: Settings, metrics: Metrics) -> "LoadedVersion":
        """Start an engine on the version's folder and wait until it is warm.

        Raises:
            BrokenVersion: it must not serve; says why.
        """
        order = LoadOrder(
            version.model,
            version.number,
            folder=str(folder),
            manifest_sha256=version.manifest_sha256,
            max_batch_size=settings.max_batch_size,
            threads=settings.engine_threads,
            max_image_bytes=settings.max_image_bytes,
            max_image_pixels=settings.max_image_pixels,
        )

        async def start() -> Engine:
            return (await Engine.start(order, timeout_s=settings.load_timeout_s))[0]

        engine, manifest = await Engine.start(order, timeout_s=settings.load_timeout_s)
        keeper = EngineKeeper(
            engine,
            start,
            stuck_s=max(LEAST_STUCK_S, settings.request_timeout_s),
            on_restart=lambda: metrics.count_engine_restart(version.model, version.number),
        )
        return cls(
            manifest, keeper, Batcher(keeper, settings, metrics=metrics, model=version.model, version=version.number)
        )

    @property
    def engine_pid(self) -> int:
        return self._keeper.pid

    @property
    def trouble(self) -> str:
        """Why there is no engine just now; empty while there is one."""
        return self._keeper.trouble

    async def infer(self, images: Sequence[EngineImage], deadline: float) -> list[float | RipenError]:
        """Per image P(`classes[1]`) or the error of this image alone; raises as `Batcher.submit`."""
        return await self._batcher.submit(images, deadline)

    @contextlib.contextmanager
    def hold(self) -> Iterator["LoadedVersion"]:
        """Keep the version from being stopped meanwhile."""
        self._leases += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._leases -= 1
            if not self._leases:
                self._unused.set()

    async def drain(self, timeout_s: float) -> None:
        """Wait until nobody holds the version, at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._unused.wait()

    async def stop(self) -> None:
        """End queue and engine; the memory goes back to the system."""
        await self._batcher.stop()
        await self._keeper.stop()
