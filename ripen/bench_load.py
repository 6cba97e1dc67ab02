"""The load generator: closed loop or open loop, in one thread that costs little. Neither line: it asks and times.

It shares the processors with the server that it measures, so a request costs it about as much as reading and writing.
"""

import asyncio
import time
from collections.abc import Sequence

from ripen.bench_plan import Answer, ClosedLoop, OpenLoop, Plan, Sender, Target
from ripen.bench_result import LoadResult, Record

PAUSE_AFTER_ERROR_S = 0.01  # of a caller in a closed loop: else a server that refuses gets nothing but refusing to do
LONGEST_SLEEP_S = 0.2  # until a stop is noticed
OPEN_AT_FIRST = 32  # connections of an open loop that are there when it begins
NOT_SENT = Answer(code="not_sent", message="as many requests were under way as may be")


async def run_load(
    target: Target, images: Sequence[bytes], plan: Plan, *, stop: asyncio.Event | None = None
) -> LoadResult:
    """Send a plan's requests and keep what came. The target stays open.

    Args:
        target: whom to ask, and how.
        images: encoded; sent in turn.
        plan: how many at once, or how many per second.
        stop: ends the load when it is set; requests under way are still waited for.

    Raises:
        ServiceUnreachable: the first connections cannot be made.
    """
    load = _Load(target, [target.encode(image) for image in images], plan, stop or asyncio.Event())
    try:
        await load.connect()
        await (load.run_closed(plan) if isinstance(plan, ClosedLoop) else load.run_open(plan))
        return load.record.result(plan, ended_s=time.perf_counter())
    finally:
        await load.close()


class _Load:
    """One load under way."""

    record: Record

    def __init__(self, target: Target, messages: list[bytes], plan: Plan, stop: asyncio.Event) -> None:
        self._target = target
        self._messages = messages
        self._plan = plan
        self._stop = stop
        count = plan.concurrency if isinstance(plan, ClosedLoop) else min(plan.outstanding, OPEN_AT_FIRST)
        self._senders = [target.sender() for _ in range(count)]
        self._sent = 0

    async def connect(self) -> None:
        """Connect, then let the clock run."""
        await asyncio.gather(*(sender.open() for sender in self._senders))
        self.record = Record(time.perf_counter() + self._plan.warm_up_s, self._plan.duration_s)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(sender.close() for sender in self._senders))

    async def run_closed(self, plan: ClosedLoop) -> None:
        """Let every caller ask again and again until the time, or the count, is over."""
        most = plan.count or float("inf")
        await asyncio.gather(*(self._call(sender, most) for sender in self._senders))

    async def _call(self, sender: Sender, most: float) -> None:
        while self._sent < most and not self._stop.is_set():
            due_s = time.perf_counter()
            if due_s >= self.record.end_s:
                return
            answer = await self._send(sender, self._next_image(), due_s)
            if answer.code:
                await asyncio.sleep(PAUSE_AFTER_ERROR_S)

    async def run_open(self, plan: OpenLoop) -> None:
        """Send each request when it is due, and wait for the answers to the last ones."""
        idle = list(self._senders)
        tasks: set[asyncio.Task[None]] = set()
        begin_s = time.perf_counter()
        while not self._stop.is_set():
            due_s = begin_s + self._sent / plan.rate
            if due_s >= self.record.end_s:
                break
            wait_s = due_s - time.perf_counter()
            await asyncio.sleep(min(max(wait_s, 0.0), LONGEST_SLEEP_S))  # also where it is late: answers come meanwhile
            if wait_s > LONGEST_SLEEP_S:
                continue
            image, sender = self._next_image(), self._free_sender(idle, plan)
            if sender is None:
                self.record.add(image, due_s, time.perf_counter(), NOT_SENT)
                continue
            task = asyncio.ensure_future(self._send_one(sender, image, due_s, idle))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    def _free_sender(self, idle: list[Sender], plan: OpenLoop) -> Sender | None:
        if idle:
            return idle.pop()
        if len(self._senders) == plan.outstanding:
            return None
        self._senders.append(self._target.sender())
        return self._senders[-1]

    async def _send_one(self, sender: Sender, image: int, due_s: float, idle: list[Sender]) -> None:
        await self._send(sender, image, due_s)
        idle.append(sender)

    def _next_image(self) -> int:
        self._sent += 1
        return (self._sent - 1) % len(self._messages)

    async def _send(self, sender: Sender, image: int, due_s: float) -> Answer:
        sent_s = time.perf_counter()
        answer = await sender.send(self._messages[image])
        self.record.add(image, due_s, sent_s, answer)
        return answer
