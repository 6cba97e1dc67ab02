"""Which engines sleep so that all together stay within the memory budget. LINE A step 3: pure.

An engine that sleeps has no process; its version stays available and the next request wakes it. First sleep versions
that are only kept warm, then whole idle models, both by when they were last used. Never sleeps what answers a request,
and never the live version of a pinned model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Stage(StrEnum):
    """Life of an engine: asleep -> waking -> awake -> stopping -> asleep. Only the first takes no memory."""

    ASLEEP = "asleep"
    WAKING = "waking"
    AWAKE = "awake"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Resident:
    """One engine that has memory or is getting it.

    Attributes:
        size_bytes: measured, or estimated before it was.
        live: it answers, or is about to, for its model; else it is only kept warm.
        pinned: its model is.
        busy: requests hold it.
        last_used: on any one clock.
    """

    model: str
    version: int
    size_bytes: int
    stage: Stage
    live: bool
    pinned: bool
    busy: bool
    last_used: float

    @property
    def may_ever_stop(self) -> bool:
        return not (self.live and self.pinned)


@dataclass(frozen=True)
class Begin:
    """There is room: start the engine."""


@dataclass(frozen=True)
class Stop:
    """Put these to sleep, then ask again."""

    engines: tuple[Resident, ...]


@dataclass(frozen=True)
class Wait:
    """Ask again when something changes: an engine became idle or has gone."""


@dataclass(frozen=True)
class Refuse:
    """It fits beside the engines that must stay never; `kept_bytes` is what they take."""

    kept_bytes: int


def beside(residents: Sequence[Resident], model: str) -> list[Resident]:
    """The engines as a swap of this model finds them: the one that answers for it stays, as if it were pinned."""
    return [replace(each, pinned=each.pinned or each.model == model) for each in residents]


def has_room(need_bytes: int, residents: Sequence[Resident], budget_bytes: int) -> bool:
    """Whether an engine fits as things are; one alone always does, since nothing smaller could be had."""
    return not residents or _size(residents) + need_bytes <= budget_bytes


def next_step(
    need_bytes: int, residents: Sequence[Resident], budget_bytes: int, *, size_is_known: bool
) -> Begin | Stop | Wait | Refuse:
    """What to do for an engine that a request waits for.

    Args:
        need_bytes: what it will take.
        residents: all others that are not asleep.
        size_is_known: it was measured before, or another version of its model; a guess is never a reason to refuse.
    """
    if has_room(need_bytes, residents, budget_bytes):
        return Begin()
    staying = [each for each in residents if each.stage is not Stage.STOPPING]
    excess_bytes = _size(staying) + need_bytes - budget_bytes
    kept = [each for each in staying if not each.may_ever_stop]
    if kept and len(kept) == len(residents):
        return Refuse(_size(kept)) if size_is_known else Begin()
    if size_is_known and kept and _size(kept) + need_bytes > budget_bytes:
        return Refuse(_size(kept))
    chosen = choose(staying, excess_bytes)
    return Stop(chosen) if chosen else Wait()


def over_budget(residents: Sequence[Resident], budget_bytes: int) -> tuple[Resident, ...]:
    """Which engines to put to sleep now, because all that are awake take too much together.

    What wakes just now does not count: a swap needs both engines for a moment. The last engine stays.
    """
    awake = [each for each in residents if each.stage is Stage.AWAKE]
    return choose(awake, _size(awake) - budget_bytes)[: max(0, len(awake) - 1)]


def choose(residents: Sequence[Resident], excess_bytes: int) -> tuple[Resident, ...]:
    """Engines whose sleep frees `excess_bytes`, in the order in which they are given up; fewer where there are none."""
    chosen: list[Resident] = []
    for group in (*_kept_warm(residents), *_idle_models(residents)):
        if excess_bytes <= 0:
            break
        more = [each for each in group if each not in chosen]
        chosen += more
        excess_bytes -= _size(more)
    return tuple(chosen)


def _kept_warm(residents: Sequence[Resident]) -> list[list[Resident]]:
    """Each idle version that is not live, by when its model was used."""
    used = {each.model: max(one.last_used for one in residents if one.model == each.model) for each in residents}
    spare = [each for each in residents if not each.live and _is_idle(each)]
    return [[each] for each in sorted(spare, key=lambda each: (used[each.model], each.model, each.version))]


def _idle_models(residents: Sequence[Resident]) -> list[list[Resident]]:
    """All engines of each model that has none that must stay, the one used longest ago first."""
    models: dict[str, list[Resident]] = {}
    for each in residents:
        models.setdefault(each.model, []).append(each)
    idle = [group for group in models.values() if all(_is_idle(each) and each.may_ever_stop for each in group)]
    return sorted(idle, key=lambda group: (max(each.last_used for each in group), group[0].model))


def _is_idle(resident: Resident) -> bool:
    return resident.stage is Stage.AWAKE and not resident.busy


def _size(residents: Iterable[Resident]) -> int:
    return sum(each.size_bytes for each in residents)
