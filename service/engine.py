"""The parent's end of one engine process: start, infer, stop. LINE A step 5, LINE B step 5."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence

import msgspec

from contract.artifact import Manifest
from contract.errors import EngineUnavailable, LoadFailed
from service.engine_wire import (
    HEADER,
    Batch,
    BatchResult,
    EngineImage,
    LoadOrder,
    LoadReport,
    encode_frame,
    error_of,
)

STOP_GRACE_S = 2.0
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "GRPC_VERBOSITY": "ERROR", "PYTHONUNBUFFERED": "1"}
logger = logging.getLogger(__name__)


class Engine:
    """One engine process. Made by `start`; `ended` is set as soon as it is gone or useless, however it came to that."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[BatchResult]] = {}
        self._last_id = 0
        self._receiver: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()

    @classmethod
    async def start(cls, order: LoadOrder, *, timeout_s: float) -> tuple["Engine", Manifest]:
        """Spawn a process, let it verify, load, check and warm the version.

        Raises:
            BrokenVersion: it reported a failure, died, or was not ready within `timeout_s`.
        """
        engine = await cls._spawn(order)
        try:
            async with asyncio.timeout(timeout_s):
                manifest = await engine._load(order)
        except TimeoutError as error:
            await engine.stop()
            raise LoadFailed(f"{order.folder} was not ready within {timeout_s:g} s (RIPEN_LOAD_TIMEOUT_S).") from error
        except BaseException:  # cancelled too: no process may be left behind
            await engine.stop()
            raise
        engine._receiver = asyncio.create_task(engine._receive())
        return engine, manifest

    @classmethod
    async def _spawn(cls, order: LoadOrder) -> "Engine":
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)  # first: a process must not be left behind
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "service.engine_process", "--socket", str(theirs.fileno())),
                    *("--model", order.model, "--version", str(order.version)),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    env={**QUIET, **os.environ},
                )
            except BaseException as error:
                writer.transport.abort()
                if isinstance(error, OSError):
                    raise LoadFailed(f"No engine process can be started: {error}.") from error
                raise
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def infer(self, images: Sequence[EngineImage]) -> BatchResult:
        """Answer one batch. Several may be under way at once.

        Raises:
            EngineUnavailable: the process has ended, or ended before it answered, or the whole batch failed in it.
        """
        if self.ended.is_set():
            raise EngineUnavailable("The engine process has ended; it is being restarted.")
        self._last_id += 1
        answer: asyncio.Future[BatchResult] = asyncio.get_running_loop().create_future()
        self._waiting[self._last_id] = answer
        self._writer.writelines(encode_frame(Batch(self._last_id, tuple(images))))
        result = await answer
        if result.failure is not None:
            raise error_of(result.failure)
        return result

    def hang_up(self) -> None:
        """Tell the process to end, which it obeys at once; `ended` is set soon."""
        self._writer.transport.abort()

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
        if self._receiver is not None:
            await asyncio.wait([self._receiver])  # not awaited itself: our cancellation must not reach it
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _load(self, order: LoadOrder) -> Manifest:
        self._writer.writelines(encode_frame(order))
        try:
            report = msgspec.msgpack.decode(await self._frame(), type=LoadReport)
        except (asyncio.IncompleteReadError, OSError) as error:
            status = await self._process.wait()
            raise LoadFailed(
                f"The engine process ended with status {status} while it loaded {order.folder}."
            ) from error
        if report.failure is not None or report.manifest is None:
            raise error_of(report.failure) if report.failure else LoadFailed("The engine reported nothing.")
        return report.manifest

    async def _receive(self) -> None:
        """Take answers until the process goes, or says what cannot be understood: it is of no use then either."""
        try:
            while True:
                result = msgspec.msgpack.decode(await self._frame(), type=BatchResult)
                answer = self._waiting.pop(result.id)
                if not answer.done():
                    answer.set_result(result)
        except (asyncio.IncompleteReadError, OSError):
            logger.debug("Engine process %d hung up.", self.pid)
        except Exception:
            logger.exception("Engine process %d sent an answer that cannot be understood.", self.pid)
        finally:
            self._fail_waiting()

    async def _frame(self) -> bytes:
        (size,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
        return await self._reader.readexactly(size)

    def _fail_waiting(self) -> None:
        self.ended.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(EngineUnavailable("The engine process ended before it answered; send it again."))
        self._waiting.clear()
