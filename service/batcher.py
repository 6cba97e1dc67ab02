"""One bounded queue per loaded version, emptied by an idle engine. LINE A step 4.

Work-conserving: an idle engine takes at once what is there, so batches form only while it is busy and a lone request
never waits for company.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from contract.errors import DeadlineExceeded, EngineUnavailable, Overloaded, RipenError
from contract.records import Failure
from contract.settings import Settings
from service.engine_wire import BatchResult, EngineImage, error_of
from service.metrics import Metrics

BATCHES_IN_FLIGHT = 1  # 2 would overlap the socket with the inference, and form smaller batches

BATCH_BYTES = 32 * 2**20  # a batch that has as many takes no further image: packing blocks the event loop
WAITING_BYTES = 256 * 2**20  # or one whole request, where the service accepts larger ones

STOPPED = "The version was stopped before it answered; send the request again."
logger = logging.getLogger(__name__)


class BatchEngine(Protocol):
    """What answers batches.

    `available` returns once it can, or knows that it cannot for now; `infer` raises EngineUnavailable when it dies.
    """

    async def available(self) -> None: ...

    async def infer(self, images: Sequence[EngineImage]) -> BatchResult: ...


@dataclass(eq=False)
class _Entry:
    """One waiting image; `answer` gets P(`classes[1]`) or the error of this image alone."""

    image: EngineImage
    deadline: float
    queued_at: float
    answer: "asyncio.Future[float | RipenError]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """The queue of one version.

    Args:
        engine: answers the batches.
        settings: `queue_size` images may wait, of WAITING_BYTES or `max_request_bytes` in all; `max_batch_size`
            images go together.
        metrics, model, version: where the phases, batch sizes and queue depth are counted.
    """

    def __init__(self, engine: BatchEngine, settings: Settings, *, metrics: Metrics, model: str, version: int) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._model = model
        self._version = version
        self._waiting: dict[_Entry, None] = {}  # in order of arrival; a dict, so that giving up is cheap anywhere in it
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._workers = [asyncio.create_task(self._work()) for _ in range(BATCHES_IN_FLIGHT)]

    async def submit(self, images: Sequence[EngineImage], deadline: float) -> list[float | RipenError]:
        """Queue the images and wait for their answers. When the caller is cancelled, what still waits is dropped.

        Args:
            images: may be more than one batch.
            deadline: on the event loop's clock.

        Returns:
            Per image, in order: P(`classes[1]`), or the error of this image alone.

        Raises:
            Overloaded: they do not fit into the queue; at once, without waiting.
            DeadlineExceeded, EngineUnavailable: no answer in time; the engine died while it had one of them.
        """
        self._check_room(images)
        now = asyncio.get_running_loop().time()
        entries = [_Entry(image, deadline, now) for image in images]
        self._waiting.update(dict.fromkeys(entries))
        self._waiting_bytes += _size_bytes(images)
        self._changed()
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.gather(*(entry.answer for entry in entries))
        except TimeoutError as error:
            raise DeadlineExceeded("The request's time ran out before the answer was there.") from error
        finally:
            for entry in entries:
                self._remove(entry)
            self._changed()

    async def stop(self) -> None:
        """End the workers. Whoever still waits, against all draining, gets EngineUnavailable."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.wait(self._workers)
        _fail(self._waiting, EngineUnavailable(STOPPED))

    def _check_room(self, images: Sequence[EngineImage]) -> None:
        if len(self._waiting) + len(images) > self._settings.queue_size:
            raise Overloaded(
                f"{len(self._waiting)} images are waiting and {len(images)} more came; at most "
                f"{self._settings.queue_size} may wait (RIPEN_QUEUE_SIZE). Send the request again later."
            )
        most_bytes, more_bytes = max(WAITING_BYTES, self._settings.max_request_bytes), _size_bytes(images)
        if self._waiting_bytes + more_bytes > most_bytes:
            raise Overloaded(
                f"Images of {self._waiting_bytes} bytes are waiting and {more_bytes} bytes more came; at most "
                f"{most_bytes} bytes may wait. Send the request again later, or with fewer images."
            )

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            await self._engine.available()
            entries = self._take()
            if entries:
                await self._answer(entries)

    def _take(self) -> list[_Entry]:
        """Up to one batch of images whose callers still wait; expired ones never reach the engine."""
        now = asyncio.get_running_loop().time()
        taken: list[_Entry] = []
        taken_bytes = 0
        while self._waiting and len(taken) < self._settings.max_batch_size and taken_bytes < BATCH_BYTES:
            entry = next(iter(self._waiting))
            self._remove(entry)
            if entry.deadline <= now or entry.answer.done():
                continue  # its caller's own timer or cancellation is about to tell it
            self._metrics.observe_phase("queue", now - entry.queued_at)
            taken.append(entry)
            taken_bytes += len(entry.image.data)
        self._changed()
        return taken

    async def _answer(self, entries: list[_Entry]) -> None:
        try:
            self._deliver(entries, await self._engine.infer([entry.image for entry in entries]))
        except RipenError as error:
            _fail(entries, error)
        except asyncio.CancelledError:
            _fail(entries, EngineUnavailable(STOPPED))
            raise
        except Exception:  # a defect of ours costs this batch, never the worker: nobody would empty the queue again
            logger.exception("A batch of version %d of %s failed unexpectedly.", self._version, self._model)
            _fail(entries, EngineUnavailable("The version could not answer these images; the service's log says why."))

    def _deliver(self, entries: list[_Entry], result: BatchResult) -> None:
        self._metrics.observe_batch(len(entries))
        self._metrics.observe_phase("decode", result.decode_seconds)
        self._metrics.observe_phase("infer", result.infer_seconds)
        for entry, outcome in zip(entries, result.outcomes, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(error_of(outcome) if isinstance(outcome, Failure) else outcome)

    def _remove(self, entry: _Entry) -> None:
        """Take the entry out of the queue if it still waits."""
        if entry in self._waiting:
            del self._waiting[entry]
            self._waiting_bytes -= len(entry.image.data)

    def _changed(self) -> None:
        self._metrics.set_queue_depth(self._model, self._version, len(self._waiting))
        if self._waiting:
            self._arrived.set()
        else:
            self._arrived.clear()


def _size_bytes(images: Sequence[EngineImage]) -> int:
    return sum(len(image.data) for image in images)


def _fail(entries: Iterable[_Entry], error: RipenError) -> None:
    for entry in entries:
        if not entry.answer.done():
            entry.answer.set_exception(error)
