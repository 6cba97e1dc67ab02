"""What one model should have and has: the versions that the service knows, and which of them answers. LINE A step 3."""

import asyncio
from dataclasses import dataclass, field, replace

from contract.errors import (
    EngineUnavailable,
    NoLiveVersion,
    NoRoom,
    RipenError,
    StorageUnavailable,
    UnknownVersion,
    VersionCorrupt,
)
from contract.records import Aspiration, Version, VersionState
from service.engine_wire import Capacity
from service.loaded_version import LoadedVersion
from service.memory_policy import Stage
from service.version_health import Figures, Health
from service.version_policy import Wanted

ASLEEP = "Its engine sleeps to save memory; the next request wakes it."
FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 300.0
FAILURES_FOR_GOOD = 3  # from here on a failing version no longer holds the service's readiness back
TENSORFLOW_CODES: dict[type[RipenError], str] = {
    VersionCorrupt: "DATA_LOSS",
    UnknownVersion: "NOT_FOUND",
    StorageUnavailable: "UNAVAILABLE",
    NoRoom: "RESOURCE_EXHAUSTED",
}


@dataclass(frozen=True)
class VersionStatus:
    """One version as the service sees it.

    `error_code` is `OK` or a TensorFlow error's name, and `message` says why; `runtime` is what its engine runs on or
    ran on last, and `notes` say why on nothing faster.
    """

    number: int
    state: VersionState
    error_code: str = "OK"
    message: str = ""
    runtime: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Swap:
    """One version has taken over from another that answered before: `before` is how that one did."""

    model: str
    version: int
    replaced: int
    at: float  # on the event loop's clock
    before: Figures
    health: Health


@dataclass(eq=False)
class Tracked:
    """One version of one model, from its first load on. `waking`: its engine, which slept, is to take over."""

    record: Version
    state: VersionState = VersionState.END
    loaded: LoadedVersion | None = None
    task: "asyncio.Task[None] | None" = None
    waking: "asyncio.Task[None] | None" = None
    error: RipenError | None = None
    failures: int = 0
    retry_at: float | None = 0.0

    @property
    def asleep(self) -> bool:
        return self.loaded is not None and self.loaded.stage is not Stage.AWAKE

    @property
    def failed_for_good(self) -> bool:
        return self.error is not None and (self.retry_at is None or self.failures >= FAILURES_FOR_GOOD)

    def note_failure(self, error: RipenError, now: float, *, for_good: bool) -> None:
        """Keep why it failed, and when it may be tried again, unless that is `for_good`."""
        self.error = error
        self.failures += 1
        pause_s = min(FIRST_RETRY_S * 2.0 ** (self.failures - 1), LONGEST_RETRY_S)
        self.retry_at = None if for_good else now + pause_s

    def status(self) -> VersionStatus:
        """What the service reports of it."""
        if self.error is not None:
            return VersionStatus(
                self.record.number, self.state, TENSORFLOW_CODES.get(type(self.error), "INTERNAL"), str(self.error)
            )
        if self.loaded is not None and self.loaded.trouble:
            return VersionStatus(self.record.number, self.state, "UNAVAILABLE", self.loaded.trouble)
        said = ASLEEP if self.asleep else ""
        capacity = Capacity() if self.loaded is None else self.loaded.capacity
        return VersionStatus(
            self.record.number, self.state, message=said, runtime=capacity.runtime, notes=capacity.notes
        )


@dataclass(eq=False)
class ModelVersions:
    """What one model should have and has.

    Attributes:
        pinned: its live engine never sleeps.
        serving: the version that answers now.
        down: it answers nothing because the version that did made room for the next one.
        swap: how the version that answers now took over, where it took over from another.
    """

    name: str
    pinned: bool = False
    wanted: Wanted = field(default_factory=lambda: Wanted(None))
    serving: int | None = None
    down: bool = False
    swap: Swap | None = None
    tracked: dict[int, Tracked] = field(default_factory=dict)

    @property
    def awake(self) -> bool:
        """Whether the version that answers has an engine now."""
        return self.serving is not None and not self.tracked[self.serving].asleep

    @property
    def is_waiting(self) -> bool:
        """Whether it answers nothing yet although a version is declared that may still load."""
        declared = {self.wanted.live, self.wanted.previous} - {None}
        may_load = any(not each.failed_for_good for number, each in self.tracked.items() if number in declared)
        return self.serving is None and may_load

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        """What loads, wakes and unloads versions now."""
        return [task for each in self.tracked.values() for task in (each.task, each.waking) if task]

    def declare(self, aspiration: Aspiration | None, *, keep_previous: bool, retry: bool) -> None:
        """Take over what is declared; a failed version may be tried again if it is new in there, or by `retry`."""
        before = {self.wanted.live, self.wanted.previous}
        live = aspiration.live if aspiration else None
        previous = aspiration.previous if aspiration else None
        for record in (live, previous):
            if record is None:
                continue
            tracked = self.tracked.setdefault(record.number, Tracked(record))
            if tracked.state is VersionState.END and (retry or record.number not in before):
                tracked.record, tracked.retry_at = record, 0.0
        self.wanted = Wanted(
            live.number if live else None,
            previous.number if previous else None,
            keep_previous=keep_previous,
            replaced=self.wanted.replaced,
        )

    @property
    def watched_swap(self) -> Swap | None:
        """The last swap, where a rollback would undo it at once: the version before is awake and well."""
        swap = self.swap
        if swap is None or (self.serving, self.wanted.live, self.wanted.previous) != (
            *(swap.version, swap.version),
            swap.replaced,
        ):
            return None
        before = self.tracked[swap.replaced]
        ready = before.state is VersionState.AVAILABLE and before.loaded is not None and before.loaded.can_sleep
        return swap if ready else None

    def activate(self, number: int | None, now: float) -> bool:
        """Let a version answer from now on; True where it takes over from another."""
        before, self.serving, self.down, self.swap = self.serving, number, False, None
        if before is None or number is None:
            return False
        self.wanted = replace(self.wanted, replaced=before)
        old, new = self.tracked[before].loaded, self.tracked[number].loaded
        if old is not None and new is not None:
            figures = old.health.figures()
            new.health.begin()
            self.swap = Swap(self.name, number, before, now, figures, new.health)
        return True

    def find(self, number: int | None) -> LoadedVersion:
        """A version that can answer; None means the live one.

        Raises:
            UnknownVersion, NoLiveVersion, EngineUnavailable: there is none; the last where there is one again soon.
        """
        wanted = self.serving if number is None else number
        if wanted is None and self.down:
            raise EngineUnavailable(
                f"Model {self.name!r} is replaced just now: version {self.wanted.live} is loading. Send it again later."
            )
        if wanted is None:
            raise NoLiveVersion(f"Model {self.name!r} has no version to answer with: {self._what_is_missing()}")
        tracked = self.tracked.get(wanted)
        if tracked is None or tracked.loaded is None or tracked.state is not VersionState.AVAILABLE:
            loaded = ", ".join(str(n) for n, each in sorted(self.tracked.items()) if each.loaded) or "none"
            raise UnknownVersion(f"Version {wanted} of model {self.name!r} is not loaded; loaded are: {loaded}.")
        return tracked.loaded

    def _what_is_missing(self) -> str:
        number = self.wanted.live
        if number is None:
            return "label images of both classes, then retrain."
        error = self.tracked[number].error
        return f"version {number} is loading." if error is None else f"version {number} cannot serve: {error}"
