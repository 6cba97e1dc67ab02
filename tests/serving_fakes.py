"""In-memory ports and shortcuts for the tests of the serving core."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from contract.errors import DatabaseUnavailable, UnknownVersion
from contract.keys import ApiKey
from contract.records import Aspiration, Model, Version
from contract.settings import Settings
from service.engine_wire import BatchResult, Capacity, EngineImage
from service.metrics import Metrics


def settings(**changes: object) -> Settings:
    """The default settings with some fields changed: `settings(queue_size=4)`."""
    return Settings.from_environment({f"RIPEN_{name.upper()}": str(value) for name, value in changes.items()})


class FolderStorage:
    """The part of the Storage port that serving needs: version folders below `root`, named by their storage key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, model: str, number: int) -> Path:
        return self.root / "models" / model / str(number)

    def local_folder(self, key: str) -> Path:
        if not (self.root / key).is_dir():
            raise UnknownVersion(f"Nothing is published under {key}.")
        return self.root / key


class AspiringDatabase:
    """The part of the Database port that the watcher needs. `failing` makes every call fail."""

    def __init__(self, models: Sequence[Model] = ()) -> None:
        self.models = list(models)
        self.wanted: list[Aspiration] = []
        self.failing = False
        self.looks = 0

    def list_models(self) -> list[Model]:
        self.looks += 1
        if self.failing:
            raise DatabaseUnavailable("The database is locked.")
        return self.models

    def aspirations(self) -> list[Aspiration]:
        return self.wanted


class KeyDatabase:
    """The part of the Database port that keys are read by. `failing` makes it fail."""

    def __init__(self, *keys: ApiKey) -> None:
        self.keys = list(keys)
        self.failing = False

    def list_keys(self) -> list[ApiKey]:
        if self.failing:
            raise DatabaseUnavailable("The database is locked.")
        return self.keys


class GatedEngine:
    """A BatchEngine whose batches wait for `gate`; `died` makes the next one fail. Answers len(data) / 100."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = asyncio.Event()
        self.running.set()
        self.started = asyncio.Event()
        self.batches: list[list[bytes]] = []
        self.error: Exception | None = None
        self.capacity = Capacity("fake-f32", in_flight=1, batch_size=32, image_seconds=0.0001)

    @property
    def up(self) -> bool:
        return self.running.is_set()

    async def available(self) -> None:
        await self.running.wait()

    async def infer(self, images: Sequence[EngineImage]) -> BatchResult:
        self.batches.append([image.data for image in images])
        self.started.set()
        await self.gate.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return BatchResult(len(self.batches), tuple(len(image.data) / 100 for image in images))


def aspiration(live: Version, previous: Version | None = None) -> Aspiration:
    return Aspiration(live.model, live, previous)


async def until(condition: Callable[[], object], *, timeout_s: float = 30.0) -> None:
    """Let the event loop turn until `condition` holds; TimeoutError where it never does."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event: states, metrics, processes
            await asyncio.sleep(0.001)


async def queue_depth(metrics: Metrics, images: int) -> None:
    """Wait until so many images wait for version 1 of `default`."""
    line = f'ripen_queue_depth{{model="default",version="1"}} {images}.0'
    await until(lambda: line in metrics.expose().decode())
