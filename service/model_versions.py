"""What one model should have and has: the versions that the service knows, and which of them answers. LINE A step 3."""

import asyncio
from dataclasses import dataclass, field

from contract.errors import RipenError, StorageUnavailable, UnknownVersion, VersionCorrupt
from contract.records import Version, VersionState
from service.loaded_version import LoadedVersion
from service.memory_policy import Stage
from service.version_policy import Wanted

ASLEEP = "Its engine sleeps to save memory; the next request wakes it."
FAILURES_FOR_GOOD = 3  # from here on a failing version no longer holds the service's readiness back
TENSORFLOW_CODES: dict[type[RipenError], str] = {
    VersionCorrupt: "DATA_LOSS",
    UnknownVersion: "NOT_FOUND",
    StorageUnavailable: "UNAVAILABLE",
}


@dataclass(frozen=True)
class VersionStatus:
    """One version as the service sees it. `error_code` is `OK` or a TensorFlow error's name; `message` says why."""

    number: int
    state: VersionState
    error_code: str = "OK"
    message: str = ""


@dataclass(eq=False)
class Tracked:
    """One version of one model, from its first load on."""

    record: Version
    state: VersionState = VersionState.END
    loaded: LoadedVersion | None = None
    task: "asyncio.Task[None] | None" = None
    error: RipenError | None = None
    failures: int = 0
    retry_at: float | None = 0.0

    @property
    def asleep(self) -> bool:
        return self.loaded is not None and self.loaded.stage is not Stage.AWAKE

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
        return VersionStatus(self.record.number, self.state, message=ASLEEP if self.asleep else "")


@dataclass(eq=False)
class ModelVersions:
    """What one model should have and has. `serving` is the version that answers now; `pinned`: it never sleeps."""

    name: str
    pinned: bool = False
    wanted: Wanted = field(default_factory=lambda: Wanted(None))
    serving: int | None = None
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
