"""The loaded versions: lease, load, swap, drain, unload. LINE A step 3, LINE B step 5.

`version_policy.py` decides, this file does. What is declared comes in through `apply`; requests come in through
`lease`, which never waits.
"""

import asyncio
import logging
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from contract.artifact import Manifest
from contract.errors import (
    BrokenVersion,
    GoldenMismatch,
    NoLiveVersion,
    RipenError,
    StorageUnavailable,
    UnknownModel,
    UnknownVersion,
    VersionCorrupt,
)
from contract.ports import Storage
from contract.records import Aspiration, Version, VersionState
from contract.settings import Settings
from service.loaded_version import LoadedVersion
from service.metrics import Metrics
from service.version_policy import Action, Activate, Load, Present, Unload, Wanted, next_actions

LOADS_AT_ONCE = 2
FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 300.0
FAILURES_FOR_GOOD = 3  # from here on a failing version no longer holds the service's readiness back
TENSORFLOW_CODES: dict[type[RipenError], str] = {
    VersionCorrupt: "DATA_LOSS",
    UnknownVersion: "NOT_FOUND",
    StorageUnavailable: "UNAVAILABLE",
}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionStatus:
    """One version as the service sees it. `error_code` is `OK` or a TensorFlow error's name; `message` says why."""

    number: int
    state: VersionState
    error_code: str = "OK"
    message: str = ""


@dataclass(eq=False)
class _Tracked:
    """One version of one model, from its first load on."""

    record: Version
    state: VersionState = VersionState.END
    loaded: LoadedVersion | None = None
    task: "asyncio.Task[None] | None" = None
    error: RipenError | None = None
    failures: int = 0
    retry_at: float | None = 0.0

    @property
    def failed_for_good(self) -> bool:
        return self.error is not None and (self.retry_at is None or self.failures >= FAILURES_FOR_GOOD)

    def status(self) -> VersionStatus:
        """What the service reports of it."""
        if self.error is not None:
            return VersionStatus(
                self.record.number, self.state, TENSORFLOW_CODES.get(type(self.error), "INTERNAL"), str(self.error)
            )
        if self.loaded is not None and self.loaded.trouble:
            return VersionStatus(self.record.number, self.state, "UNAVAILABLE", self.loaded.trouble)
        return VersionStatus(self.record.number, self.state)


@dataclass(eq=False)
class _Model:
    """What one model should have and has. `serving` is the version that answers now."""

    wanted: Wanted = field(default_factory=lambda: Wanted(None))
    serving: int | None = None
    tracked: dict[int, _Tracked] = field(default_factory=dict)

    @property
    def is_waiting(self) -> bool:
        """Whether it answers nothing yet although a version is declared that may still load."""
        declared = {self.wanted.live, self.wanted.previous} - {None}
        may_load = any(not each.failed_for_good for number, each in self.tracked.items() if number in declared)
        return self.serving is None and may_load


class Versions:
    """Every model's versions. All methods belong to the event loop's thread."""

    def __init__(self, storage: Storage, metrics: Metrics, settings: Settings) -> None:
        self._storage = storage
        self._metrics = metrics
        self._settings = settings
        self._models: dict[str, _Model] = {}
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
            UnknownModel, UnknownVersion, NoLiveVersion
        """
        return self._find(model, version).manifest

    def lease(self, model: str, version: int | None) -> AbstractContextManager[LoadedVersion]:
        """Hold a loaded version for one request, so that a swap cannot stop it; None means the live one.

        Raises:
            UnknownModel, UnknownVersion, NoLiveVersion
        """
        return self._find(model, version).hold()

    def missing(self) -> str | None:
        """Which models still wait for their declared live version, in words; None where none does."""
        waiting = sorted(name for name, model in self._models.items() if model.is_waiting)
        return f"The live version is being loaded: {', '.join(waiting)}." if waiting else None

    async def apply(self, models: Collection[str], aspirations: Collection[Aspiration], *, retry: bool = False) -> None:
        """Take over what is declared and begin whatever it needs; never waits for a load.

        Args:
            models: all names.
            aspirations: what each model with a live version should have.
            retry: somebody asked just now: failed versions may be tried again at once.
        """
        if self._closing:
            return
        for name in models:
            self._models.setdefault(name, _Model())
        declared = {aspiration.live.model: aspiration for aspiration in aspirations}
        for name, model in self._models.items():
            self._declare(model, declared.get(name), retry=retry)
            self._step(name, model)

    async def settled(self) -> None:
        """Wait until no version is being loaded or unloaded."""
        while tasks := [each.task for model in self._models.values() for each in model.tracked.values() if each.task]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop every engine; `apply` does nothing any more."""
        self._closing = True
        for name, model in self._models.items():
            for tracked in model.tracked.values():
                if tracked.state not in (VersionState.UNLOADING, VersionState.END):
                    self._unload(name, tracked, drain_s=0.0)
        await self.settled()

    # Deciding

    def _declare(self, model: _Model, aspiration: Aspiration | None, *, retry: bool) -> None:
        before = {model.wanted.live, model.wanted.previous}
        live = aspiration.live if aspiration else None
        previous = aspiration.previous if aspiration else None
        for record in (live, previous):
            if record is None:
                continue
            tracked = model.tracked.setdefault(record.number, _Tracked(record))
            if tracked.state is VersionState.END and (retry or record.number not in before):
                tracked.record, tracked.retry_at = record, 0.0
        model.wanted = Wanted(
            live.number if live else None,
            previous.number if previous else None,
            keep_previous=self._settings.keep_previous > 0,
        )

    def _step(self, name: str, model: _Model) -> None:
        """Do what the policy says now. Called after everything that may change its answer."""
        present = [Present(number, each.state, each.retry_at) for number, each in model.tracked.items()]
        now = asyncio.get_running_loop().time()
        for action in next_actions(model.wanted, present, model.serving, now):
            self._act(name, model, action)

    def _act(self, name: str, model: _Model, action: Action) -> None:
        match action:
            case Activate(number):
                swapped = number is not None and model.serving is not None
                logger.info("Model %s: version %s answers now, before it version %s.", name, number, model.serving)
                model.serving = number
                self._metrics.set_live_version(name, number, swapped=swapped)
            case Load(number):
                self._load(name, model.tracked[number])
            case Unload(number):
                longest_s = max(self._settings.drain_timeout_s, self._settings.request_timeout_s)
                self._unload(name, model.tracked[number], drain_s=longest_s)

    # Doing

    def _load(self, name: str, tracked: _Tracked) -> None:
        self._enter(name, tracked, VersionState.START)
        tracked.task = asyncio.create_task(self._run_load(name, tracked))
        tracked.task.add_done_callback(lambda task: self._end(name, tracked) if task.cancelled() else None)

    def _unload(self, name: str, tracked: _Tracked, *, drain_s: float) -> None:
        self._enter(name, tracked, VersionState.UNLOADING)
        if tracked.task is not None:  # still loading: whoever cancels twice interrupts the cleaning up
            tracked.task.cancel()
        elif tracked.loaded is not None:
            tracked.task = asyncio.create_task(self._run_unload(name, tracked, tracked.loaded, drain_s))

    async def _run_load(self, name: str, tracked: _Tracked) -> None:
        started = asyncio.get_running_loop().time()
        try:
            async with self._loads:
                self._enter(name, tracked, VersionState.LOADING)
                folder = await asyncio.to_thread(self._storage.local_folder, tracked.record.storage_key)
                tracked.loaded = await LoadedVersion.load(
                    tracked.record, folder, settings=self._settings, metrics=self._metrics
                )
        except RipenError as error:
            self._fail(name, tracked, error)
        except Exception as error:  # a defect of ours must be visible in the version's status, not lose the task
            logger.exception("Loading version %d of %s failed unexpectedly.", tracked.record.number, name)
            self._fail(name, tracked, BrokenVersion(f"The version cannot be loaded: {type(error).__name__}."))
        else:
            tracked.error, tracked.failures, tracked.task = None, 0, None
            self._metrics.observe_load(asyncio.get_running_loop().time() - started)
            self._enter(name, tracked, VersionState.AVAILABLE)
            self._step_unless_closing(name)

    async def _run_unload(self, name: str, tracked: _Tracked, loaded: LoadedVersion, drain_s: float) -> None:
        await loaded.drain(drain_s)
        await loaded.stop()
        tracked.loaded = None
        self._end(name, tracked)

    def _fail(self, name: str, tracked: _Tracked, error: RipenError) -> None:
        tracked.error = error
        tracked.failures += 1
        pause_s = min(FIRST_RETRY_S * 2.0 ** (tracked.failures - 1), LONGEST_RETRY_S)
        for_good = isinstance(error, VersionCorrupt | GoldenMismatch)
        tracked.retry_at = None if for_good else asyncio.get_running_loop().time() + pause_s
        logger.error("Version %d of %s cannot serve: %s", tracked.record.number, name, error)
        self._end(name, tracked)

    def _end(self, name: str, tracked: _Tracked) -> None:
        tracked.task = None
        self._enter(name, tracked, VersionState.END)
        self._metrics.forget_version(name, tracked.record.number, keep_state=tracked.error is not None)
        self._step_unless_closing(name)

    def _enter(self, name: str, tracked: _Tracked, state: VersionState) -> None:
        tracked.state = state
        self._metrics.set_version_state(name, tracked.record.number, state)

    def _step_unless_closing(self, name: str) -> None:
        if not self._closing:
            self._step(name, self._models[name])

    # Finding

    def _model(self, name: str) -> _Model:
        try:
            return self._models[name]
        except KeyError:
            known = ", ".join(sorted(self._models)) or "none yet"
            raise UnknownModel(f"There is no model named {name!r}; known are: {known}.") from None

    def _find(self, name: str, number: int | None) -> LoadedVersion:
        model = self._model(name)
        wanted = model.serving if number is None else number
        if wanted is None:
            raise NoLiveVersion(f"Model {name!r} has no version to answer with: {_what_is_missing(model)}")
        tracked = model.tracked.get(wanted)
        if tracked is None or tracked.loaded is None or tracked.state is not VersionState.AVAILABLE:
            loaded = ", ".join(str(n) for n, each in sorted(model.tracked.items()) if each.loaded) or "none"
            raise UnknownVersion(f"Version {wanted} of model {name!r} is not loaded; loaded are: {loaded}.")
        return tracked.loaded


def _what_is_missing(model: _Model) -> str:
    number = model.wanted.live
    if number is None:
        return "label images of both classes, then retrain."
    error = model.tracked[number].error
    return f"version {number} is loading." if error is None else f"version {number} cannot serve: {error}"
