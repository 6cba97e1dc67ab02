"""Keeps one version's engine process: starts it when wanted, lets it sleep, restarts it with back-off. LINE A step 5.

Asleep -> waking -> awake -> stopping -> asleep; a crash is no change of stage, only `trouble` until the restart works.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from contract.errors import EngineUnavailable, LoadFailed, RipenError, Unavailable
from service.engine import Engine
from service.engine_wire import BatchResult, Capacity, EngineImage
from service.memory_policy import Stage
from service.version_health import Health

LOOKS_PER_STUCK = 4
LONGEST_PAUSE_S = 30.0
STABLE_S = 30.0  # an engine that ran this long is restarted at once again
logger = logging.getLogger(__name__)


def restart_pause_s(failures: int) -> float:
    """Seconds to wait before the next start: 0 after the first failure in a row, then 1, 2, 4 ... 30."""
    return 0.0 if failures <= 1 else min(2.0 ** (failures - 2), LONGEST_PAUSE_S)


class EngineKeeper:
    """One engine that seems never to end. It begins asleep.

    Args:
        start: makes an engine; raises RipenError where it cannot.
        room: entered before a sleeping engine starts; waits for memory. False inside: nobody waits for it any more.
        stuck_s: a batch that takes longer means that the engine hangs; it is then stopped and restarted.
        on_restart: called each time the engine ended unasked.
        on_change: called when it has woken, could not wake, or has gone to sleep.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Engine]],
        *,
        room: Callable[[], AbstractAsyncContextManager[bool]],
        stuck_s: float,
        on_restart: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self._engine: Engine | None = None
        self._start = start
        self._room = room
        self._stuck_s = stuck_s
        self._on_restart = on_restart
        self._on_change = on_change
        self._wanted = asyncio.Event()
        self._up = asyncio.Event()
        self._keeping = asyncio.create_task(self._keep())
        self.stage = Stage.ASLEEP
        self.trouble = ""  # why there is no engine just now, although it should be there
        self._said = ""  # what clients may hear of it: no paths
        self.failure: RipenError | None = None  # why it could not wake
        self.health = Health()
        self._capacity = Capacity()

    @property
    def pid(self) -> int:
        """The process that is, or was before a crash; raises EngineUnavailable where it sleeps."""
        if self._engine is None:
            raise EngineUnavailable("The version has no engine just now: it sleeps.")
        return self._engine.pid

    @property
    def can_sleep(self) -> bool:
        """Whether it is awake and well."""
        healthy = self._engine is not None and not self._engine.ended.is_set()
        return self.stage is Stage.AWAKE and healthy and not self.trouble

    async def available(self) -> None:
        """Return once there is an engine to send to, or a start has failed: `infer` then says why, at once."""
        self.rouse()
        await self._up.wait()
        if self.stage is Stage.ASLEEP and not self.trouble:  # waking was given up just before somebody new came
            self.rouse()
            await self._up.wait()

    def rouse(self) -> None:
        """Begin to wake it, where it sleeps or is about to."""
        if self.stage is Stage.ASLEEP:
            self.stage = Stage.WAKING
            self._up.clear()
        if self.stage is not Stage.AWAKE:
            self._wanted.set()

    def sleep(self) -> None:
        """Stop the engine until it is wanted again. Only while it `can_sleep` and nobody waits for an answer."""
        self.stage = Stage.STOPPING
        self._up.clear()
        self._awake().hang_up()

    @property
    def up(self) -> bool:
        """Whether there is an engine to send to."""
        return self._up.is_set() and self.stage is Stage.AWAKE

    @property
    def capacity(self) -> Capacity:
        """What the engine takes; of the last one, while there is none."""
        return self._engine.capacity if self._engine is not None else self._capacity

    def infer(self, images: Sequence[EngineImage]) -> "asyncio.Future[BatchResult]":
        """Answer one batch.

        Raises:
            EngineUnavailable: there is no engine just now; in the future, it ended or hung meanwhile, or failed on the
                whole batch.
        """
        try:
            batch = asyncio.ensure_future(self._awake().infer(images))
        except EngineUnavailable:
            self.health.count_failed(len(images))
            raise
        batch.add_done_callback(partial(self.health.batch_ended, len(images)))
        return batch

    async def stop(self) -> None:
        """End the engine for good."""
        self._keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeping
        if self._engine is not None:
            await self._engine.stop()

    def _awake(self) -> Engine:
        if self.trouble:
            raise EngineUnavailable(f"The version has no engine just now: {self._said}")
        if self._engine is None:
            raise EngineUnavailable("The version has no engine just now: it sleeps.")
        return self._engine

    async def _keep(self) -> None:
        failures = 0
        while True:
            if self._engine is None:
                await self._wanted.wait()
                await self._wake()
                failures = 0
                continue
            started = asyncio.get_running_loop().time()
            await self._ended(self._engine)
            self._up.clear()
            if self.stage is Stage.STOPPING:
                await self._fall_asleep(self._engine)
                continue
            self.health.count_death()
            self._on_restart()
            if asyncio.get_running_loop().time() - started > STABLE_S:
                failures = 0
            failures = await self._restart(self._engine, failures + 1)
            self._up.set()

    async def _ended(self, engine: Engine) -> None:
        """Wait until the engine is gone; one that hangs is ended."""
        while not engine.ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._stuck_s / LOOKS_PER_STUCK):
                    await engine.ended.wait()
            if engine.waiting_s > self._stuck_s:
                logger.error("The engine gave no answer within %g s; restarting it.", self._stuck_s)
                await engine.stop()

    async def _wake(self) -> None:
        self.stage, self.failure = Stage.WAKING, None
        try:
            async with self._room() as there_is_room:
                if there_is_room:
                    self._engine = await self._start()
                    self.stage, self.trouble = Stage.AWAKE, ""
        except Exception as error:  # whatever it is, it may work for the next request
            self._note(error)
            self.failure = error if isinstance(error, RipenError) else LoadFailed(self.trouble)
        if self._engine is None:
            self.stage = Stage.ASLEEP
        self._wanted.clear()
        self._up.set()  # those who wait hear of a failure now: nobody knows when it works
        self._on_change()

    def _note(self, error: Exception) -> None:
        self.trouble = _reason(error)
        self._said = (
            self.trouble if isinstance(error, Unavailable) else "it does not start; the version's status says why."
        )

    async def _fall_asleep(self, engine: Engine) -> None:
        await engine.stop()
        self._capacity, self._engine = engine.capacity, None
        self.stage = Stage.WAKING if self._wanted.is_set() else Stage.ASLEEP
        self._on_change()

    async def _restart(self, engine: Engine, failures: int) -> int:
        """Start until it works; return the number of failures in a row so far."""
        self.trouble = self._said = "the engine process ended; it is being restarted"
        while True:
            logger.warning("Engine ended unasked or could not start (%d in a row): %s.", failures, self.trouble)
            try:
                await engine.stop()
                await asyncio.sleep(restart_pause_s(failures))
                self._engine = await self._start()
            except Exception as error:  # whatever it is, the next try may work; a dead keeper would never try again
                self._note(error)
                self._up.set()  # those who wait hear of it now: nobody knows when a restart works
                failures += 1
            else:
                self.trouble = ""
                return failures


def _reason(error: Exception) -> str:
    """Why a start failed; what is unexpected goes to the log."""
    if isinstance(error, RipenError | OSError):
        return str(error)
    logger.error("The engine's start failed unexpectedly.", exc_info=error)
    return f"it cannot be started ({type(error).__name__})"
