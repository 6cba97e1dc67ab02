"""The protocols on real sockets around a fake core: no engine, storage in memory, real SQLite."""

import asyncio
import contextlib
import io
import queue
import shutil
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from backends.database import SqlDatabase
from contract.artifact import Golden, Manifest, Network
from contract.errors import (
    Conflict,
    InvalidRequest,
    NoLiveVersion,
    RipenError,
    UnknownModel,
    UnknownVersion,
)
from contract.images import ImageLimits, decode
from contract.recipe import Preprocessing, Recipe
from contract.records import Metrics as Scores
from contract.records import Prediction, VersionState
from contract.settings import Settings
from service.callers import Callers
from service.feedback import Feedback
from service.kept_images import KeptImages
from service.keys import Keys
from service.learning import Learning
from service.metrics import Metrics
from service.predictor import Answer, PredictRequest, keep_images
from service.protocols.core import Core
from service.readiness import Readiness
from service.servers import Ports, Servers
from service.versions import VersionStatus

CLASSES = ("apple", "orange")
SIDE = 8
SCORES = Scores(20, 0.9, 0.3, 0.95, 0.9, 0.9, 9, 1, 9, 1)


def picture(value: int = 0, *, side: int = 16, form: str = "PNG") -> bytes:
    """One image of one grey but for a corner; the fake predictor answers value / 255."""
    stream = io.BytesIO()
    image = Image.new("RGB", (side, side), (value, value, value))
    image.putpixel((side - 1, side - 1), ((value + 128) % 256,) * 3)
    image.save(stream, form)
    return stream.getvalue()


def manifest(number: int, model: str = "default") -> Manifest:
    return Manifest(
        model=model,
        version=number,
        classes=CLASSES,
        image_size=(SIDE, SIDE),
        preprocessing=Preprocessing.RESCALE,
        threshold=0.5,
        metrics=SCORES,
        parent=None,
        job_id="0" * 32,
        created_at="2026-01-01T00:00:00+00:00",
        recipe=Recipe(),
        network=Network("Tiny", "none", 1, 1),
        history=(),
        training_seconds=1.5,
        seeds={},
        data_digest="0" * 64,
        examples={},
        packages={},
        golden=Golden((), {}),
        decoder_differences=(),
    )


class FakeVersions:
    """`default` serves 1 and 2, 2 is live, 3 failed; `empty` has no version."""

    def known_models(self) -> frozenset[str]:
        return frozenset({"default", "empty"})

    def live(self, model: str) -> int | None:
        self._check(model)
        return 2 if model == "default" else None

    def status(self, model: str) -> tuple[VersionStatus, ...]:
        self._check(model)
        if model == "empty":
            return ()
        return (
            VersionStatus(3, VersionState.END, "INTERNAL", "golden/00.jpg differs"),
            VersionStatus(2, VersionState.AVAILABLE, "OK", ""),
            VersionStatus(1, VersionState.AVAILABLE, "OK", ""),
        )

    def manifest(self, model: str, version: int | None) -> Manifest:
        self._check(model)
        if model == "empty" and version is None:
            raise NoLiveVersion("Model 'empty' has no version to answer with: label images, then retrain.")
        number = version or 2
        if model == "empty" or number not in (1, 2):
            raise UnknownVersion(f"Version {number} of model {model!r} is not loaded.")
        return manifest(number)

    def _check(self, model: str) -> None:
        if model not in self.known_models():
            raise UnknownModel(f"There is no model named {model!r}.")


class FakePredictor:
    """Answers the mean of the image's first pixel / 255. `error` is raised instead; `gate` holds answers back."""

    def __init__(self, versions: FakeVersions, kept: KeptImages) -> None:
        self._versions = versions
        self._kept = kept
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[PredictRequest] = []
        self.cancelled = threading.Event()
        self.waiting = threading.Event()
        self._in_flight = 0
        self.most_in_flight = 0
        self.refusal: RipenError | None = None

    def refuse_early(
        self, model: str | None, version: int | None = None, timeout_s: float | None = None
    ) -> RipenError | None:
        return self.refusal

    async def predict(self, request: PredictRequest) -> Answer:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        found = self._versions.manifest(request.model, request.version)
        if not 1 <= len(request.images) <= 256:
            raise InvalidRequest(f"The request has {len(request.images)} images; expected 1 to 256.")
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        self.waiting.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self._in_flight -= 1
        answer = Answer(request.model, found.version, CLASSES, tuple(_predict(image) for image in request.images))
        keep_images(self._kept, request, answer)
        return answer


def _predict(image: bytes | np.ndarray) -> Prediction | RipenError:
    try:
        pixels = image if isinstance(image, np.ndarray) else decode(image, ImageLimits())
    except RipenError as error:
        return error
    probability = float(pixels[0, 0].mean()) / 255
    return Prediction(CLASSES[probability >= 0.5], probability, 0.5)


class MemoryStorage:
    """The Storage port in a dict; published folders lie below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects: dict[str, bytes] = {}
        self.error: RipenError | None = None

    def put(self, key: str, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.objects[key] = data

    def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def publish_folder(self, source: Path, key: str) -> None:
        target = self.root / key
        if target.exists():
            raise Conflict(f"{key} is published already.")
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)

    def local_folder(self, key: str) -> Path:
        if not (self.root / key).is_dir():
            raise UnknownVersion(f"Nothing is published under {key}.")
        return self.root / key

    def delete_folder(self, key: str) -> None:
        shutil.rmtree(self.root / key, ignore_errors=True)

    def check(self) -> None:
        pass


def free_ports(**changes: object) -> Settings:
    """Default settings on free ports; `changes` by field name."""
    return replace(Settings.from_environment({}), **{"rest_port": 0, "grpc_port": 0, **changes})


class RunningService:
    """Both servers in a thread of their own. `missing` is why it is not ready."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.settings = settings or free_ports(home=folder)
        self.database = SqlDatabase(f"sqlite:///{folder}/ripen.db")
        self.database.migrate()
        self.database.create_model("default", CLASSES)
        self.database.create_model("empty", None)
        self.storage = MemoryStorage(folder)
        self.changes = 0
        self.missing: str | None = None
        self.now = datetime.now(UTC)
        self.keys = Keys(self.database)
        versions = FakeVersions()
        kept = KeptImages(self.settings.keep_images_bytes)
        self.predictor = FakePredictor(versions, kept)
        metrics, learning = Metrics(self.database), Learning(self.database, self.storage, self.settings, self._changed)
        self.core = Core(
            predictor=self.predictor,
            versions=versions,
            learning=learning,
            feedback=Feedback(learning, kept, metrics),
            readiness=Readiness(lambda: self.missing),
            metrics=metrics,
            settings=self.settings,
            callers=Callers(self.settings, self.keys),
        )
        self.ports = Ports(self.settings)
        self._started: queue.Queue[BaseException | None] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self.stopped = False

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.rest}"

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.ports.grpc}"

    def start(self) -> "RunningService":
        self._thread.start()
        error = self._started.get(timeout=30)
        if error is not None:
            raise error
        return self

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.release()
            self.call(self.servers.stop)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(30)
            self.database.close()

    def call(self, make: Callable[[], Coroutine[object, object, object]]) -> object:
        """Run a coroutine on the service's loop."""
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(30)

    def hold(self) -> None:
        """Keep predictions waiting until `release`."""
        self._loop.call_soon_threadsafe(self.predictor.gate.clear)
        self.predictor.waiting.clear()

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self.predictor.gate.set)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, of something that has no event."""
        until = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.002)

    def metric(self, line: str) -> float:
        """The value of the series whose line begins with `line`, or 0."""
        found = [text for text in self.core.metrics.expose().decode().splitlines() if text.startswith(line)]
        return sum(float(text.rsplit(" ", 1)[1]) for text in found)

    def _changed(self) -> None:
        self.changes += 1

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self.servers = self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._started.put(error)
            return
        self._started.put(None)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _serve(self) -> Servers:
        servers = Servers(self.core, self.ports)
        await servers.start()
        return servers


@contextlib.contextmanager
def running(folder: Path, settings: Settings | None = None) -> Iterator[tuple[RunningService, httpx.Client]]:
    """A started service and a client for its REST."""
    service = RunningService(folder, settings).start()
    try:
        with httpx.Client(base_url=service.rest_url, timeout=20) as client:
            yield service, client
    finally:
        service.stop()
