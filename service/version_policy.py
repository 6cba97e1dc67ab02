"""What to do next so that the declared version serves. LINE B step 5: the pure brain of `versions.py`.

Availability first: the old version serves until the new one is available, the previous one is loaded last and
answers where the live one cannot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from contract.records import VersionState

RUNNING = (VersionState.START, VersionState.LOADING, VersionState.AVAILABLE)


@dataclass(frozen=True)
class Wanted:
    """What is declared: the live version, and the one before it.

    The previous one answers where the live one cannot. `keep_previous` keeps one version warm beside the live one: the
    one that it `replaced` here, so that a promotion and a rollback are quick both ways, else the previous one.
    """

    live: int | None
    previous: int | None = None
    keep_previous: bool = True
    replaced: int | None = None


@dataclass(frozen=True)
class Present:
    """A version that the service knows. `retry_at` says when one that failed may load again; None means never."""

    number: int
    state: VersionState
    retry_at: float | None = 0.0


@dataclass(frozen=True)
class Activate:
    """From now on this version answers; None: none does."""

    number: int | None


@dataclass(frozen=True)
class Unload:
    """Drain and stop the version, or give up loading it."""

    number: int


@dataclass(frozen=True)
class Load:
    """Start the version's engine."""

    number: int


Action = Activate | Unload | Load


def next_actions(wanted: Wanted, present: Sequence[Present], serving: int | None, now: float) -> list[Action]:
    """Choose what to do for one model.

    Args:
        wanted: what is declared.
        present: each version that was ever touched, once.
        serving: the version that answers now; always among the available ones.
        now: on the clock of `retry_at`.

    Returns:
        Actions in their order; none where nothing is to be done before something changes.
    """
    states = {each.number: each.state for each in present}
    actions: list[Action] = []
    best = _best(wanted, states, serving)
    if serving != best:
        wanted = replace(wanted, replaced=serving or wanted.replaced)
        serving = best
        actions.append(Activate(serving))
    spare = _spare(wanted, states, serving)
    keep = {wanted.live, spare, serving}
    actions += [Unload(number) for number, state in states.items() if state in RUNNING and number not in keep]
    wish = wanted.live
    if serving == wanted.live or (serving is None and _has_failed(wanted.live, present, now)):
        wish = spare
    if wish is not None and _may_load(wish, present, now):
        actions.append(Load(wish))
    return actions


def _best(wanted: Wanted, states: Mapping[int, VersionState], serving: int | None) -> int | None:
    """The version that should answer now."""
    if wanted.live is None or states.get(wanted.live) is VersionState.AVAILABLE:
        return wanted.live
    if serving is None and wanted.previous is not None and states.get(wanted.previous) is VersionState.AVAILABLE:
        return wanted.previous
    return serving


def _spare(wanted: Wanted, states: Mapping[int, VersionState], serving: int | None) -> int | None:
    """The version that should be there beside the live one and the one that answers."""
    if serving is None:
        return wanted.previous
    if not wanted.keep_previous:
        return None
    settled = serving == wanted.live != wanted.replaced  # while another loads, a third would only take memory
    if settled and wanted.replaced is not None and states.get(wanted.replaced) in RUNNING:
        return wanted.replaced
    return wanted.previous


def _has_failed(number: int | None, present: Sequence[Present], now: float) -> bool:
    """Whether the version is down and may not be loaded now."""
    ended = any(each.number == number and each.state is VersionState.END for each in present)
    return number is not None and ended and not _may_load(number, present, now)


def _may_load(number: int, present: Sequence[Present], now: float) -> bool:
    for each in present:
        if each.number == number:
            return each.state is VersionState.END and each.retry_at is not None and each.retry_at <= now
    return True
