"""The loaded versions: lease, load, swap, drain, unload. LINE A step 3, LINE B step 5.

`version_policy.py` decides, this file does. What is declared comes in through `apply`; requests come in through
`lease`, which never waits. An available version answers, but its engine may sleep (`engine_memory.py`).
"""

import asyncio
import logging
from collections.abc import Collection
from contextlib import AbstractContextManager

from contract import artifact
from contract.artifact import Manifest
from contract.errors import BrokenVersion, GoldenMismatch, NoRoom, Overloaded, RipenError, UnknownModel, VersionCorrupt
from contract.ports import Storage
from contract.records import Aspiration, SwapChoice, VersionState
from contract.settings import Settings
from service.engine_memory import EngineMemory
from service.loaded_version import LoadedVersion
from service.memory_policy import Stage
from service.metrics import Metrics
from service.model_versions import ModelVersions, Swap, Tracked, VersionStatus
from service.version_policy import Action, Activate, Load, Present, Unload, Wanted, next_actions

LOADS_AT_ONCE = 2
__all__ = ["VersionStatus", "Versions"]
logger = logging.getLogger(__name__)


class Versions:
    """Every model's versions. All methods belong to the event loop's thread."""

    def __init__(self, storage: Storage, metrics: Metrics, settings: Settings) -> None:
        self._storage = storage
        self._metrics = metrics
        self._settings = settings
        self._memory = EngineMemory(settings.memory_budget_bytes, metrics)
        self._models: dict[str, ModelVersions] = {}
        self._leaving: set[ModelVersions] = set()  # deleted, but their engines still run
        self._loads = asyncio.Semaphore(LOADS_AT_ONCE)
        self._closing = False

    def known_models(self) -> frozenset[str]:
        """The names that requests may use."""
        return frozenset(self._models)

    def live(self, model: str) -> int | None:
        """The version that answers now; raises UnknownModel."""
        return self._model(model).serving

    def status(self, model: str) -> tuple[VersionStatus, ...]:
        """Every version touched since the service started, newest first; raises UnknownModel."""
        tracked = self._model(model).tracked
        return tuple(tracked[number].status() for number in sorted(tracked, reverse=True))

    def manifest(self, model: str, version: int | None) -> Manifest:
        """The manifest of a loaded version; None means the live one.

        Raises:
            UnknownModel, UnknownVersion, NoLiveVersion, EngineUnavailable
        """
        return self._model(model).find(version).manifest

    def lease(self, model: str, version: int | None) -> AbstractContextManager[LoadedVersion]:
        """Hold a loaded version for one request, so that a swap cannot stop it; None means the live one.

        Raises:
            UnknownModel, UnknownVersion, NoLiveVersion, EngineUnavailable
        """
        return self._model(model).find(version).hold()

    def too_late(self, model: str, version: int | None, left_s: float) -> Overloaded | None:
        """Why a request that came now, with `left_s` to go, would not be answered in time; None: `lease` may tell."""
        try:
            return self._model(model).find(version).too_late(left_s)
        except RipenError:
            return None

    def swaps(self) -> tuple[Swap, ...]:
        """Each model's last swap, where a rollback would undo it at once."""
        return tuple(swap for model in self._models.values() if (swap := model.watched_swap))

    def missing(self) -> str | None:
        """Which models still wait for their declared live version, in words; None where none does."""
        waiting = sorted(name for name, model in self._models.items() if model.is_waiting)
        return f"The live version is being loaded: {', '.join(waiting)}." if waiting else None

    async def apply(
        self,
        models: Collection[str],
        aspirations: Collection[Aspiration],
        *,
        pinned: Collection[str] = (),
        retry: bool = False,
    ) -> None:
        """Take over what is declared and begin whatever it needs; never waits for a load.

        Args:
            models: all names; a model that is no longer among them is forgotten, after its requests were answered.
            aspirations: what each model with a live version should have.
            pinned: models whose live engine never sleeps; they load first.
            retry: somebody asked just now: failed versions may be tried again at once.
        """
        if self._closing:
            return
        self._memory.pin(pinned)
        for name in self._models.keys() - set(models):
            self._forget(self._models.pop(name))
        declared = {aspiration.live.model: aspiration for aspiration in aspirations}
        for name in sorted(models, key=lambda name: (name not in pinned, name)):
            model = self._models.setdefault(name, ModelVersions(name))
            model.pinned = name in pinned
            model.declare(declared.get(name), keep_previous=self._settings.keep_previous > 0, retry=retry)
            self._step(model)

    async def settled(self) -> None:
        """Wait until no version is being loaded or unloaded."""
        while tasks := [task for model in (*self._models.values(), *self._leaving) for task in model.tasks]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop every engine; `apply` does nothing any more."""
        self._closing = True
        for model in self._models.values():
            self._unload_all(model, drain_s=0.0)
        await self.settled()
        await self._memory.close()

    # Deciding

    def _forget(self, model: ModelVersions) -> None:
        """Its name is unknown from now on; its requests are answered, then its engines stop and its series go."""
        model.wanted, model.serving = Wanted(None), None
        self._leaving.add(model)
        self._unload_all(model, drain_s=self._drain_s)
        self._step(model)

    def _step(self, model: ModelVersions) -> None:
        """Do what the policy says now. Called after everything that may change its answer."""
        if self._closing:
            return
        if model in self._leaving:
            self._leave(model)
            return
        present = [Present(number, self._state(model, each), each.retry_at) for number, each in model.tracked.items()]
        now = asyncio.get_running_loop().time()
        for action in next_actions(model.wanted, present, model.serving, now):
            self._act(model, action)
        self._memory.set_live(model.name, {number for number in (model.serving, model.wanted.live) if number})
        if model.pinned and model.serving is not None:
            self._wake(model.tracked[model.serving])

    def _state(self, model: ModelVersions, tracked: Tracked) -> VersionState:
        """The version's state; one that should take over from an engine that is awake counts only once it is too."""
        number = tracked.record.number
        if tracked.asleep and model.awake and number == model.wanted.live != model.serving:
            if tracked.waking is None and tracked.loaded is not None and tracked.loaded.stage is Stage.ASLEEP:
                tracked.waking = asyncio.create_task(self._wake_to_take_over(model, tracked, tracked.loaded))
            return VersionState.LOADING
        return tracked.state

    def _wake(self, tracked: Tracked) -> None:
        """Start a sleeping engine that no request waits for, whatever the budget says."""
        loaded = tracked.loaded
        if loaded is not None and loaded.stage is Stage.ASLEEP:
            self._memory.admit(loaded, whatever_it_takes=True)
            loaded.rouse()

    async def _wake_to_take_over(self, model: ModelVersions, tracked: Tracked, loaded: LoadedVersion) -> None:
        """Wake the version that should take over beside the one that answers; where there is no room, give it up."""
        try:
            await self._make_way(model, tracked, loaded)
            loaded.rouse()
        except NoRoom as error:
            tracked.waking = None  # this task itself must not be cancelled
            self._give_up(model, tracked, error)
        finally:
            if tracked.waking is asyncio.current_task():
                tracked.waking = None

    def _leave(self, model: ModelVersions) -> None:
        if all(each.state is VersionState.END for each in model.tracked.values()):
            self._leaving.discard(model)
            if model.name not in self._models:
                self._memory.set_live(model.name, ())
                self._metrics.forget_model(model.name)

    def _act(self, model: ModelVersions, action: Action) -> None:
        match action:
            case Activate(number):
                before = model.serving
                swapped = model.activate(number, asyncio.get_running_loop().time())
                logger.info("Model %s: version %s answers now, before it version %s.", model.name, number, before)
                self._metrics.set_live_version(model.name, number, swapped=swapped)
            case Load(number):
                self._load(model, model.tracked[number])
            case Unload(number):
                self._unload(model, model.tracked[number], drain_s=self._drain_s)

    # Doing

    @property
    def _drain_s(self) -> float:
        return max(self._settings.drain_timeout_s, self._settings.request_timeout_s)

    def _load(self, model: ModelVersions, tracked: Tracked) -> None:
        self._enter(model, tracked, VersionState.START)
        tracked.task = asyncio.create_task(self._run_load(model, tracked))
        tracked.task.add_done_callback(lambda task: self._end(model, tracked) if task.cancelled() else None)

    def _unload(self, model: ModelVersions, tracked: Tracked, *, drain_s: float) -> None:
        self._enter(model, tracked, VersionState.UNLOADING)
        if tracked.waking is not None:
            tracked.waking.cancel()
            tracked.waking = None
        if tracked.task is not None:  # still loading: whoever cancels twice interrupts the cleaning up
            tracked.task.cancel()
        elif tracked.loaded is not None:
            tracked.task = asyncio.create_task(self._run_unload(model, tracked, tracked.loaded, drain_s))

    def _unload_all(self, model: ModelVersions, *, drain_s: float) -> None:
        for tracked in model.tracked.values():
            if tracked.state not in (VersionState.UNLOADING, VersionState.END):
                self._unload(model, tracked, drain_s=drain_s)

    async def _run_load(self, model: ModelVersions, tracked: Tracked) -> None:
        started = asyncio.get_running_loop().time()
        try:
            async with self._loads:
                self._enter(model, tracked, VersionState.LOADING)
                loaded = await self._open(model, tracked)
        except RipenError as error:
            self._fail(model, tracked, error)
        except Exception as error:  # a defect of ours must be visible in the version's status, not lose the task
            logger.exception("Loading version %d of %s failed unexpectedly.", tracked.record.number, model.name)
            self._fail(model, tracked, BrokenVersion(f"The version cannot be loaded: {type(error).__name__}."))
        else:
            tracked.loaded, tracked.task = loaded, None
            loaded.on_change = lambda: self._engine_changed(model, tracked, loaded)
            if loaded.stage is Stage.AWAKE:
                tracked.error, tracked.failures = None, 0
                self._metrics.observe_load(asyncio.get_running_loop().time() - started)
            self._enter(model, tracked, VersionState.AVAILABLE)
            self._step(model)
            self._memory.trim()

    async def _open(self, model: ModelVersions, tracked: Tracked) -> LoadedVersion:
        """The version, awake where the memory has room for it, where it should take over, or where it failed before."""
        record = tracked.record
        folder = await asyncio.to_thread(self._storage.local_folder, record.storage_key)
        manifest = await asyncio.to_thread(artifact.read_manifest, folder, record.manifest_sha256)
        loaded = LoadedVersion(
            record, folder, manifest, memory=self._memory, settings=self._settings, metrics=self._metrics
        )
        try:
            if model.awake and record.number == model.wanted.live:
                await self._make_way(model, tracked, loaded)
                await loaded.wake()
            elif self._memory.admit(loaded, whatever_it_takes=model.pinned or tracked.failures > 0):
                await loaded.wake()
        except BaseException:  # cancelled too: no process may be left behind
            await loaded.stop()
            raise
        return loaded

    async def _make_way(self, model: ModelVersions, tracked: Tracked, loaded: LoadedVersion) -> None:
        """Wait until the engine fits beside the one that answers; where it never does, stop that one if we may.

        Raises:
            NoRoom: it does not fit, and we may not.
        """
        try:
            await self._memory.make_way(loaded, timeout_s=self._settings.load_timeout_s)
        except NoRoom:
            if self._settings.swap is not SwapChoice.SERIAL or model.serving is None:
                raise
            await self._take_down(model, tracked.record.number)
            self._memory.admit(loaded, whatever_it_takes=True)

    async def _take_down(self, model: ModelVersions, following: int) -> None:
        """Stop the version that answers, so that the next one has its memory; requests are refused until it is up."""
        number = model.serving
        assert number is not None
        logger.warning(
            "Model %s: version %d stops now and version %d starts after it, since both do not fit into the memory; "
            "requests get 503 meanwhile (RIPEN_SWAP=serial).",
            *(model.name, number, following),
        )
        model.activate(None, asyncio.get_running_loop().time())
        model.down = True
        self._metrics.set_live_version(model.name, None, swapped=False)
        self._metrics.count_serial_swap(model.name)
        before = model.tracked[number]
        self._unload(model, before, drain_s=self._drain_s)
        if before.task is not None:
            await asyncio.wait([before.task])

    async def _run_unload(self, model: ModelVersions, tracked: Tracked, loaded: LoadedVersion, drain_s: float) -> None:
        await loaded.drain(drain_s)
        await loaded.stop()
        self._end(model, tracked)

    def _engine_changed(self, model: ModelVersions, tracked: Tracked, loaded: LoadedVersion) -> None:
        """The engine of an available version has woken, could not, or sleeps: one that cannot serve is given up."""
        if tracked.state is not VersionState.AVAILABLE:
            return
        if isinstance(loaded.failure, BrokenVersion):
            self._give_up(model, tracked, loaded.failure)
        elif loaded.stage is Stage.AWAKE:
            tracked.error, tracked.failures = None, 0
        self._memory.changed()
        self._step(model)

    def _give_up(self, model: ModelVersions, tracked: Tracked, error: RipenError) -> None:
        self._note_failure(model, tracked, error)
        if model.serving == tracked.record.number:
            model.serving = None
            self._metrics.set_live_version(model.name, None, swapped=False)
        self._unload(model, tracked, drain_s=self._drain_s)

    def _fail(self, model: ModelVersions, tracked: Tracked, error: RipenError) -> None:
        self._note_failure(model, tracked, error)
        self._end(model, tracked)

    def _note_failure(self, model: ModelVersions, tracked: Tracked, error: RipenError) -> None:
        for_good = isinstance(error, VersionCorrupt | GoldenMismatch) or model.down  # no downtime again and again
        tracked.note_failure(error, asyncio.get_running_loop().time(), for_good=for_good)
        logger.error("Version %d of %s cannot serve: %s", tracked.record.number, model.name, error)

    def _end(self, model: ModelVersions, tracked: Tracked) -> None:
        tracked.task = tracked.loaded = None
        self._enter(model, tracked, VersionState.END)
        self._metrics.forget_version(model.name, tracked.record.number, keep_state=tracked.error is not None)
        self._step(model)

    def _enter(self, model: ModelVersions, tracked: Tracked, state: VersionState) -> None:
        tracked.state = state
        self._metrics.set_version_state(model.name, tracked.record.number, state)

    # Finding

    def _model(self, name: str) -> ModelVersions:
        try:
            return self._models[name]
        except KeyError:
            known = ", ".join(sorted(self._models)) or "none yet"
            raise UnknownModel(f"There is no model named {name!r}; known are: {known}.") from None
