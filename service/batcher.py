"""One bounded queue per loaded version, emptied by its engine. LINE A step 4.

Work-conserving: an engine with a free place takes at once what is there, spread over its idle workers, so batches form
only while it is busy and a lone request never waits for company. What cannot be answered in time is refused when it
comes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Protocol

from contract.errors import DeadlineExceeded, EngineUnavailable, Overloaded, RipenError
from contract.records import Failure
from contract.settings import Settings
from service.engine_wire import BatchResult, Capacity, EngineDied, EngineImage, error_of
from service.metrics import Metrics
from service.quarantine import Quarantine

BATCH_BYTES = 32 * 2**20  # a batch that has as many takes no further image: packing blocks the event loop
WAITING_BYTES = 256 * 2**20  # or one whole request, where the service accepts larger ones
ALWAYS_TAKEN = 32  # so many images may be under way however slow the network is: 32 clients that wait are no overload
SAFETY = 1.2  # of the estimate against a deadline: who is taken in and then late has cost others their answers
NEW_SHARE = 0.05  # of the newest measurement in the estimate of the time per image

STOPPED = "The version was stopped before it answered; send the request again."
logger = logging.getLogger(__name__)


class BatchEngine(Protocol):
    """What answers batches.

    `available` returns once it can, or knows that it cannot for now, which is when `up` is true; `infer` raises
    EngineUnavailable, at once or later, when it has none, and EngineDied when it ends with them.
    """

    @property
    def up(self) -> bool: ...

    @property
    def capacity(self) -> Capacity: ...

    async def available(self) -> None: ...

    def infer(self, images: Sequence[EngineImage]) -> Awaitable[BatchResult]: ...


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
        engine: answers the batches; its capacity says how many at once, and of how many images.
        settings: `queue_size` images may wait, of WAITING_BYTES or `max_request_bytes` in all, and beyond ALWAYS_TAKEN
            for `queue_wait_s`.
        metrics, model, version: where the phases, batch sizes and queue depth are counted.
    """

    def __init__(self, engine: BatchEngine, settings: Settings, *, metrics: Metrics, model: str, version: int) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._model = model
        self._version = version
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[_Entry, None] = {}  # in order of arrival; a dict, so that giving up is cheap anywhere in it
        self._waiting_bytes = 0
        self._batches: set[asyncio.Future[BatchResult]] = set()
        self._images_sent = 0
        self._image_s: float | None = None  # time per image while there is always work; None: as the engine says
        self._answered_at = 0.0
        self._alone = True  # the newest batch had the engine to itself so far
        self._waking: asyncio.Task[None] | None = None
        self._quarantine = Quarantine()
        self._suspect_sent = False  # alone: nothing else is sent before its answer
        metrics.watch_queue_depth(model, version, lambda: len(self._waiting))

    async def submit(self, images: Sequence[EngineImage], deadline: float) -> list[float | RipenError]:
        """Queue the images and wait for their answers. When the caller is cancelled, what still waits is dropped.

        Args:
            images: may be more than one batch.
            deadline: on the event loop's clock.

        Returns:
            Per image, in order: P(`classes[1]`), or the error of this image alone; InvalidImage also where the engine
            did not survive it.

        Raises:
            Overloaded: they do not fit into the queue or into the time; at once, without waiting.
            DeadlineExceeded, EngineUnavailable: no answer in time; the engine died while it had one of them.
        """
        if refusal := self.refusal(images, deadline):
            raise refusal
        now = self._loop.time()
        entries = [_Entry(image, deadline, now) for image in images]
        for entry in entries:
            if (poisoned := self._quarantine.refusal(entry.image)) is not None:
                entry.answer.set_result(poisoned)
                continue
            self._waiting[entry] = None
            self._waiting_bytes += len(entry.image.data)
        timer = self._loop.call_at(deadline, _expire, entries)
        try:
            self._pump()
            return [await entry.answer for entry in entries]
        finally:
            timer.cancel()
            for entry in entries:
                self._remove(entry)

    def refusal(self, images: Sequence[EngineImage], deadline: float) -> Overloaded | None:
        """Why these images would not be taken now, or None."""
        count, more_bytes = len(images), _size_bytes(images)
        most_bytes = max(WAITING_BYTES, self._settings.max_request_bytes)
        if self._waiting_bytes + more_bytes > most_bytes:
            return Overloaded(
                f"Images of {self._waiting_bytes} bytes are waiting and {more_bytes} bytes more came; at most "
                f"{most_bytes} bytes may wait. Send the request again later, or with fewer images."
            )
        return self.too_late(deadline - self._loop.time(), count)

    def too_late(self, left_s: float, count: int = 1) -> Overloaded | None:
        """Why `count` images that came now, with `left_s` to go, would not be answered in time; None: they may be."""
        if len(self._waiting) + count > self._settings.queue_size:
            return Overloaded(
                f"{len(self._waiting)} images are waiting and {count} more came; at most "
                f"{self._settings.queue_size} may wait (RIPEN_QUEUE_SIZE). Send the request again later."
            )
        ahead = len(self._waiting) + self._images_sent
        if not self._images_sent:
            return None  # an idle engine takes what it can
        if (needed_s := SAFETY * (ahead + count) * self.image_s) > left_s:
            return Overloaded(
                f"An answer would take up to {needed_s:.2g} s and has {left_s:.2g} s left of the request's time. Send "
                "the request again later, or give it more time."
            )
        most_s = self._settings.queue_wait_s
        if ahead >= ALWAYS_TAKEN and (wait_s := ahead * self.image_s) > most_s:
            return Overloaded(
                f"An image would wait about {wait_s:.2g} s and may wait {most_s:.2g} s (RIPEN_QUEUE_WAIT_S). Send the "
                "request again later."
            )
        return None

    @property
    def image_s(self) -> float:
        """The time per image while there is always work, in seconds."""
        return self._engine.capacity.image_seconds if self._image_s is None else self._image_s

    async def stop(self) -> None:
        """Whoever still waits, against all draining, gets EngineUnavailable."""
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.wait([self._waking])
        for batch in tuple(self._batches):
            batch.cancel()
        if self._batches:
            await asyncio.wait(self._batches)
        _fail(self._waiting, EngineUnavailable(STOPPED))

    def _pump(self, *, asked: bool = False) -> None:
        """Send what waits to the free places of the engine; if it was just `asked` for one, whatever came of that."""
        capacity = self._engine.capacity
        while self._waiting and len(self._batches) < capacity.in_flight and not self._suspect_sent:
            if not (asked or self._engine.up):
                self._waking = self._waking or asyncio.create_task(self._wake())
                return
            idle = max(1, capacity.workers - len(self._batches))
            entries = self._take(min(capacity.batch_size, ceil(len(self._waiting) / idle)))
            if not entries:
                return
            self._send(entries)

    async def _wake(self) -> None:
        await self._engine.available()
        self._waking = None
        self._pump(asked=True)

    def _take(self, most: int) -> list[_Entry]:
        """At most so many images whose callers still wait; what would be late never reaches the engine.

        None where nothing waits any more, or where a suspect is next and the engine has work.
        """
        now = self._loop.time()
        taken: list[_Entry] = []
        taken_bytes = 0
        while self._waiting and len(taken) < most and taken_bytes < BATCH_BYTES:
            entry = next(iter(self._waiting))
            if self._quarantine.suspects(entry.image):
                if taken or self._batches:
                    break
                most = 1
            self._remove(entry)
            if entry.deadline <= now or entry.answer.done():
                continue  # its caller's own timer or cancellation is about to tell it
            needed_s = (self._images_sent + len(taken) + 1) * self.image_s
            if self._images_sent and needed_s > entry.deadline - now:
                _fail((entry,), DeadlineExceeded(f"The answer would take {needed_s:.2g} s more, which is too late."))
                continue
            self._metrics.observe_phase("queue", now - entry.queued_at)
            taken.append(entry)
            taken_bytes += len(entry.image.data)
        return taken

    def _send(self, entries: list[_Entry]) -> None:
        try:
            batch = asyncio.ensure_future(self._engine.infer([entry.image for entry in entries]))
        except RipenError as error:
            _fail(entries, error)
            return
        self._suspect_sent = self._quarantine.suspects(entries[0].image)
        self._alone = not self._batches
        if self._alone:
            self._answered_at = self._loop.time()
        self._batches.add(batch)
        self._images_sent += len(entries)
        batch.add_done_callback(partial(self._answered, entries))

    def _answered(self, entries: list[_Entry], batch: "asyncio.Future[BatchResult]") -> None:
        self._batches.discard(batch)
        self._images_sent -= len(entries)
        self._suspect_sent = False
        try:
            self._deliver(entries, batch.result())
            self._quarantine.acquit(entry.image for entry in entries)
        except EngineDied as error:
            self._quarantine.blame(entry.image for entry in entries)
            _fail(entries, EngineUnavailable(error.message))
        except RipenError as error:
            _fail(entries, error)
        except asyncio.CancelledError:
            _fail(entries, EngineUnavailable(STOPPED))
            return
        except Exception:  # a defect of ours costs this batch, never the queue
            logger.exception("A batch of version %d of %s failed unexpectedly.", self._version, self._model)
            _fail(entries, EngineUnavailable("The version could not answer these images; the service's log says why."))
        self._pump()

    def _deliver(self, entries: list[_Entry], result: BatchResult) -> None:
        self._measure(len(entries))
        self._metrics.observe_batch(sum(not isinstance(each, Failure) for each in result.outcomes))
        self._metrics.observe_phase("decode", result.decode_seconds)
        self._metrics.observe_phase("infer", result.infer_seconds)
        for entry, outcome in zip(entries, result.outcomes, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(error_of(outcome) if isinstance(outcome, Failure) else outcome)

    def _measure(self, count: int) -> None:
        """Follow the time per image, by the time between answers while there was work for every place of the engine.

        A batch that had the engine to itself may only show that it is faster: too high an estimate would refuse
        whatever could correct it.
        """
        now = self._loop.time()
        image_s, self._answered_at = (now - self._answered_at) / count, now
        before = self.image_s
        if self._waiting or (self._alone and image_s < before):
            self._image_s = before + NEW_SHARE * (image_s - before)

    def _remove(self, entry: _Entry) -> None:
        """Take the entry out of the queue if it still waits."""
        if entry in self._waiting:
            del self._waiting[entry]
            self._waiting_bytes -= len(entry.image.data)


def _size_bytes(images: Sequence[EngineImage]) -> int:
    return sum(len(image.data) for image in images)


def _expire(entries: Iterable[_Entry]) -> None:
    _fail(entries, DeadlineExceeded("The request's time ran out before the answer was there."))


def _fail(entries: Iterable[_Entry], error: RipenError) -> None:
    for entry in entries:
        if not entry.answer.done():
            entry.answer.set_exception(error)
            entry.answer.exception()  # told to the first who asks; the request's other images need no warning
