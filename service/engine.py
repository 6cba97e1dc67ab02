"""The parent's end of one engine process: start, infer, stop. LINE A step 5, LINE B step 5."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence

import msgspec

from contract.artifact import Manifest
from contract.errors import EngineUnavailable, LoadFailed
from service.engine_connection import EngineConnection
from service.engine_priority import giving_way
from service.engine_wire import (
    Batch,
    BatchResult,
    Capacity,
    EngineDied,
    EngineImage,
    LoadOrder,
    LoadReport,
    error_of,
)

MODULE = "service.engine_process"
STOP_GRACE_S = 2.0
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "GRPC_VERBOSITY": "ERROR", "PYTHONUNBUFFERED": "1"}
logger = logging.getLogger(__name__)


class Engine:
    """One engine process. Made by `start`; `ended` is set as soon as it is gone or useless, however it came to that."""

    def __init__(self, process: asyncio.subprocess.Process, connection: EngineConnection) -> None:
        self._process = process
        self._connection = connection
        self._waiting: dict[int, tuple[asyncio.Future[BatchResult], float]] = {}  # with when it was sent
        self._last_id = 0
        self._loop = asyncio.get_running_loop()
        self._reported: asyncio.Future[bytes] = self._loop.create_future()
        self.capacity = Capacity()
        self.ended = asyncio.Event()
        connection.on_frame = self._reported.set_result
        connection.on_close = self._closed

    @classmethod
    async def start(
        cls, order: LoadOrder, *, timeout_s: float, busy: Callable[[], bool] = lambda: False
    ) -> tuple["Engine", Manifest]:
        """Spawn a process, let it verify, load, check and warm the version; it gives way while others are `busy`.

        Raises:
            BrokenVersion: it reported a failure, died, or was not ready within `timeout_s`.
        """
        engine = await cls._spawn(order)
        try:
            async with asyncio.timeout(timeout_s), giving_way(engine.pid, busy, most_s=timeout_s / 2):
                manifest = await engine._load(order)
        except TimeoutError as error:
            await engine.stop()
            raise LoadFailed(f"{order.folder} was not ready within {timeout_s:g} s (RIPEN_LOAD_TIMEOUT_S).") from error
        except BaseException:  # cancelled too: no process may be left behind
            await engine.stop()
            raise
        return engine, manifest

    @classmethod
    async def _spawn(cls, order: LoadOrder) -> "Engine":
        ours, theirs = socket.socketpair()
        with theirs:
            connection = await EngineConnection.open(ours)  # first: a process must not be left behind
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", MODULE, "--socket", str(theirs.fileno())),
                    *("--model", order.model, "--version", str(order.version)),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    env={**QUIET, **os.environ},
                )
            except BaseException as error:
                connection.abort()
                if isinstance(error, OSError):
                    raise LoadFailed(f"No engine process can be started: {error}.") from error
                raise
        return cls(process, connection)

    @property
    def pid(self) -> int:
        return self._process.pid

    def infer(self, images: Sequence[EngineImage]) -> "asyncio.Future[BatchResult]":
        """Ask for the answers to one batch. Several may be under way at once.

        Raises:
            EngineUnavailable: the process has ended; in the future, the whole batch failed in it, or, as EngineDied, it
                ended before it answered.
        """
        if self.ended.is_set():
            raise EngineUnavailable("The engine process has ended; it is being restarted.")
        self._last_id += 1
        answer: asyncio.Future[BatchResult] = self._loop.create_future()
        self._waiting[self._last_id] = answer, self._loop.time()
        self._connection.send(Batch(self._last_id, tuple(images)))
        return answer

    @property
    def waiting_s(self) -> float:
        """How long the oldest batch without an answer has been under way."""
        return self._loop.time() - min((sent for _, sent in self._waiting.values()), default=self._loop.time())

    def hang_up(self) -> None:
        """Tell the process to end, which it obeys at once; `ended` is set soon."""
        self._connection.abort()

    async def stop(self) -> None:
        """End the process: hang up, then kill. Safe to call twice."""
        self.hang_up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_GRACE_S):
                await self._process.wait()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self.ended.wait()

    async def _load(self, order: LoadOrder) -> Manifest:
        self._connection.send(order)
        try:
            report = msgspec.msgpack.decode(await self._reported, type=LoadReport)
        except EngineUnavailable as error:
            status = await self._process.wait()
            raise LoadFailed(
                f"The engine process ended with status {status} while it loaded {order.folder}."
            ) from error
        if report.failure is not None or report.manifest is None:
            raise error_of(report.failure) if report.failure else LoadFailed("The engine reported nothing.")
        self.capacity = report.capacity
        self._connection.on_frame = self._receive
        return report.manifest

    def _receive(self, frame: bytes) -> None:
        """Take one answer; a process that says what cannot be understood is of no use."""
        try:
            result = msgspec.msgpack.decode(frame, type=BatchResult)
            answer, _ = self._waiting.pop(result.id)
        except (msgspec.DecodeError, KeyError):
            logger.exception("Engine process %d sent an answer that cannot be understood.", self.pid)
            self.hang_up()
            return
        if answer.done():
            return
        if result.failure is None:
            answer.set_result(result)
        else:
            answer.set_exception(error_of(result.failure))

    def _closed(self) -> None:
        self.ended.set()
        waiting: list[asyncio.Future[BatchResult] | asyncio.Future[bytes]] = [
            each for each, _ in self._waiting.values()
        ]
        for answer in (*waiting, self._reported):
            if not answer.done():
                answer.set_exception(EngineDied("The engine process ended before it answered; send it again."))
                answer.exception()  # its caller may have gone
        self._waiting.clear()
