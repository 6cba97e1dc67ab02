"""Watches each version that took over, and gives its place back when it does worse. LINE B step 5.

`judge` decides, a pure function. A rollback is an ordinary one, declared in the database by `watch`: all replicas
follow, and only the first of them declares it. A version that came back by a rollback is not watched: nothing swings.
"""

import asyncio
import logging
from collections.abc import Callable

from contract.errors import NothingToRollBack, RipenError
from contract.ports import Database
from contract.settings import Settings
from service.metrics import Metrics
from service.model_versions import Swap
from service.version_health import Figures
from service.versions import Versions

ACTOR = "watch"
LOOK_EVERY_S = 0.5
LEAST_IMAGES = 20  # to judge its failures by
LEAST_BATCHES = 50  # of each, to judge its speed by
MOST_DEATHS = 3
LEAST_SLOWDOWN_S = 0.05
logger = logging.getLogger(__name__)


def judge(new: Figures, before: Figures, *, error_share: float, slowdown: float) -> str | None:
    """Why the version before should answer again, with figures; None: the new one may stay.

    Args:
        new: since it took over.
        before: the version that it replaced, until then.
        error_share: how many of the new one's answers may be its own failures, in [0, 1].
        slowdown: how many times the time per image may be the one before's, if LEAST_SLOWDOWN_S is lost too.
    """
    if new.deaths > MOST_DEATHS:
        return f"its engine ended {new.deaths} times; at most {MOST_DEATHS} may be"
    if new.images >= LEAST_IMAGES and new.failures > error_share * new.images:
        return f"{new.failures} of {new.images} answers failed; at most {error_share:.1%} may"
    slow = max(slowdown * before.image_s, before.image_s + LEAST_SLOWDOWN_S)
    if min(new.batches, before.batches) >= LEAST_BATCHES and new.image_s > slow:
        return (
            f"an image takes {1000 * new.image_s:.0f} ms in the median, {1000 * before.image_s:.0f} ms before; at most "
            f"{1000 * slow:.0f} ms may be"
        )
    return None


class SwapWatch:
    """Looks at every swap for `settings.watch_s`. `run` belongs in a task.

    Args:
        on_change: called, in a worker thread, after what should be live has changed.
    """

    def __init__(
        self,
        database: Database,
        versions: Versions,
        metrics: Metrics,
        *,
        settings: Settings,
        on_change: Callable[[], None],
    ) -> None:
        self._database = database
        self._versions = versions
        self._metrics = metrics
        self._settings = settings
        self._on_change = on_change
        self._over: dict[str, Swap] = {}  # per model the last swap that needs no look any more
        self._failing = False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Exception:  # a defect of ours costs one look, never all that follow
                logger.exception("Watching the swaps failed.")

    async def look(self) -> None:
        """Judge each version that took over lately."""
        now = asyncio.get_running_loop().time()
        for swap in self._versions.swaps():
            if self._over.get(swap.model) is swap or now > swap.at + self._settings.watch_s:
                continue
            settings = self._settings
            limits = {"error_share": settings.watch_error_share, "slowdown": settings.watch_slowdown}
            why = judge(swap.health.figures(), swap.before, **limits)
            if why is not None:
                await self._go_back(swap, f"Within {now - swap.at:.0f} s after it took over: {why}.")

    async def _go_back(self, swap: Swap, reason: str) -> None:
        """Declare the version before live; a database that is away is asked again at the next look."""
        try:
            await asyncio.to_thread(self._declare, swap, reason)
        except NothingToRollBack as error:  # another replica or a person was faster
            logger.info("Version %d of %s needs no rollback any more: %s", swap.version, swap.model, error)
        except RipenError as error:
            if not self._failing:
                logger.warning("Version %d of %s should be rolled back: %s %s", swap.version, swap.model, reason, error)
            self._failing = True
            return
        else:
            logger.warning("Version %d of %s is rolled back: %s", swap.version, swap.model, reason)
            self._metrics.count_automatic_rollback(swap.model)
        self._over[swap.model], self._failing = swap, False

    def _declare(self, swap: Swap, reason: str) -> None:
        self._database.rollback(swap.model, reason=reason, actor=ACTOR, live=swap.version)
        self._on_change()
