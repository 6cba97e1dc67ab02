"""Keeps one version's engine process alive: restarts it with back-off when it ends unasked. LINE A step 5."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from contract.errors import EngineUnavailable, RipenError
from service.engine import Engine
from service.engine_wire import BatchResult, EngineImage

LONGEST_PAUSE_S = 30.0
STABLE_S = 30.0  # an engine that ran this long is restarted at once again
logger = logging.getLogger(__name__)


def restart_pause_s(failures: int) -> float:
    """Seconds to wait before the next start: 0 after the first failure in a row, then 1, 2, 4 ... 30."""
    return 0.0 if failures <= 1 else min(2.0 ** (failures - 2), LONGEST_PAUSE_S)


class EngineKeeper:
    """One engine that seems never to end.

    Args:
        engine: the running one.
        start: makes another like it; raises RipenError where it cannot.
        stuck_s: a batch that takes longer means that the engine hangs; it is then stopped and restarted.
        on_restart: called each time the engine ended unasked.
    """

    def __init__(
        self, engine: Engine, start: Callable[[], Awaitable[Engine]], *, stuck_s: float, on_restart: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._start = start
        self._stuck_s = stuck_s
        self._on_restart = on_restart
        self._up = asyncio.Event()
        self._up.set()
        self._keeping = asyncio.create_task(self._keep())
        self.trouble = ""  # why there is no engine just now

    @property
    def pid(self) -> int:
        return self._engine.pid

    async def available(self) -> None:
        """Return once there is an engine to send to, or a restart has failed: `infer` then says why, at once."""
        await self._up.wait()

    async def infer(self, images: Sequence[EngineImage]) -> BatchResult:
        """Answer one batch.

        Raises:
            EngineUnavailable: the engine ended or hung meanwhile, or failed on the whole batch; there is none just now.
        """
        if self.trouble:
            raise EngineUnavailable(f"The version has no engine just now: {self.trouble}")
        engine = self._engine
        try:
            async with asyncio.timeout(self._stuck_s):
                return await engine.infer(images)
        except TimeoutError as error:
            await engine.stop()
            raise EngineUnavailable(f"The engine gave no answer within {self._stuck_s:g} s; restarting it.") from error

    async def stop(self) -> None:
        """End the engine for good."""
        self._keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeping
        await self._engine.stop()

    async def _keep(self) -> None:
        failures = 0
        while True:
            started = asyncio.get_running_loop().time()
            await self._engine.ended.wait()
            self._up.clear()
            self._on_restart()
            if asyncio.get_running_loop().time() - started > STABLE_S:
                failures = 0
            failures = await self._restart(failures + 1)
            self._up.set()

    async def _restart(self, failures: int) -> int:
        """Start until it works; return the number of failures in a row so far."""
        self.trouble = "the engine process ended; it is being restarted"
        while True:
            logger.warning("Engine ended unasked or could not start (%d in a row): %s.", failures, self.trouble)
            try:
                await self._engine.stop()
                await asyncio.sleep(restart_pause_s(failures))
                self._engine = await self._start()
            except Exception as error:  # whatever it is, the next try may work; a dead keeper would never try again
                self.trouble = _reason(error)
                self._up.set()  # those who wait hear of it now: nobody knows when a restart works
                failures += 1
            else:
                self.trouble = ""
                return failures


def _reason(error: Exception) -> str:
    """Why a start failed, for clients; what is unexpected goes to the log."""
    if isinstance(error, RipenError | OSError):
        return str(error)
    logger.error("The engine's restart failed unexpectedly.", exc_info=error)
    return f"it cannot be restarted ({type(error).__name__})"
