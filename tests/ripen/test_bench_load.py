"""The load generator's schedules, against callers that answer as a test tells them to."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from ripen.bench_load import run_load
from ripen.bench_plan import Answer, ClosedLoop, OpenLoop, Plan
from ripen.bench_result import LoadResult
from ripen.errors import ServiceUnreachable

IMAGES = (b"a", b"b", b"c")
STALL_S = 0.4


@dataclass
class FakeTarget:
    """Answers each request, by its number, with what `answer` says; is its own sender."""

    answer: Callable[[int, bytes], Awaitable[Answer]]
    encoded: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    senders: int = 0
    open_senders: int = 0
    under_way: int = 0
    most_under_way: int = 0

    def encode(self, image: bytes) -> bytes:
        self.encoded.append(image)
        return b"<" + image + b">"

    def sender(self) -> "FakeTarget":
        self.senders += 1
        self.open_senders += 1
        return self

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def send(self, message: bytes) -> Answer:
        self.sent.append(message)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self.answer(len(self.sent) - 1, message)
        finally:
            self.under_way -= 1

    async def close(self) -> None:
        self.open_senders -= 1


async def at_once(number: int, message: bytes) -> Answer:
    await asyncio.sleep(0.001)
    return Answer(7, 0.25)


def load(target: FakeTarget, plan: Plan, stop_after_s: float | None = None) -> LoadResult:
    async def run() -> LoadResult:
        stop = asyncio.Event()
        if stop_after_s is not None:
            asyncio.get_running_loop().call_later(stop_after_s, stop.set)
        return await run_load(target, IMAGES, plan, stop=stop)

    return asyncio.run(run())


def test_a_closed_loop_keeps_its_callers_busy_and_ends_at_its_count() -> None:
    target = FakeTarget(at_once)
    result = load(target, ClosedLoop(4, duration_s=60, warm_up_s=0, count=100))
    assert target.encoded == list(IMAGES)
    assert target.most_under_way == target.senders == 4
    assert target.open_senders == 0
    assert target.sent[:6] == [b"<a>", b"<b>", b"<c>"] * 2
    assert len(target.sent) == len(result.samples) == 100
    assert sorted(result.samples.image[:3].tolist()) == [0, 1, 2]
    summary = result.summary()
    assert summary.versions == {7: 100}
    assert summary.seconds < 30
    assert summary.throughput == pytest.approx(100 / summary.seconds)


def test_the_warm_up_is_sent_and_kept_but_not_counted() -> None:
    target = FakeTarget(at_once)
    result = load(target, ClosedLoop(2, duration_s=0.2, warm_up_s=0.2))
    before = result.samples.start_s < 0
    assert 0 < before.sum() < len(result.samples)
    assert len(result.measured) == result.summary().requests == len(result.samples) - before.sum()
    assert result.summary().seconds == pytest.approx(0.2)


def stalling() -> Callable[[int, bytes], Awaitable[Answer]]:
    """A server with one thing at a time that stands still once."""
    turn = asyncio.Lock()

    async def answer(number: int, message: bytes) -> Answer:
        async with turn:
            await asyncio.sleep(STALL_S if number == 20 else 0)
        return Answer(1, 0.5)

    return answer


def test_an_open_loop_counts_latency_from_the_moment_a_request_was_due() -> None:
    result = load(FakeTarget(stalling()), OpenLoop(100, duration_s=0.9, warm_up_s=0))
    assert len(result.samples) == 90
    order = np.argsort(result.samples.start_s)
    assert np.diff(result.samples.start_s[order]) == pytest.approx(0.01)
    waits_s = result.samples.latency_s[order][20:60]
    due_s = np.arange(40) * 0.01
    assert (waits_s >= STALL_S - due_s - 0.001).all()  # each waited for the rest of the stall
    assert (result.samples.sent_s >= result.samples.start_s - 0.002).all()


def test_a_closed_loop_sees_the_same_stall_once() -> None:
    result = load(FakeTarget(stalling()), ClosedLoop(1, duration_s=60, warm_up_s=0, count=90))
    assert (result.samples.latency_s >= STALL_S).sum() == 1
    assert result.summary().latency is not None


def test_a_dead_server_costs_a_bounded_number_of_requests() -> None:
    async def never(number: int, message: bytes) -> Answer:
        await asyncio.sleep(0.5)
        return Answer(code="unanswered", message="too late")

    target = FakeTarget(never)
    result = load(target, OpenLoop(400, duration_s=0.2, warm_up_s=0, outstanding=3))
    summary = result.summary()
    assert target.most_under_way == target.senders == 3
    assert target.open_senders == 0
    assert summary.requests == sum(summary.errors.values()) == 80
    assert summary.errors["not_sent"] >= 60
    assert summary.latency is None
    assert result.messages["unanswered"] == "too late"


def test_an_open_loop_adds_callers_where_answers_take_long() -> None:
    async def slow(number: int, message: bytes) -> Answer:
        await asyncio.sleep(0.3)
        return Answer(1, 0.5)

    target = FakeTarget(slow)
    summary = load(target, OpenLoop(400, duration_s=0.25, warm_up_s=0)).summary()
    assert summary.errors == {}
    assert summary.requests == 100
    assert target.senders > 40  # more than there are at first


@pytest.mark.parametrize("plan", [ClosedLoop(2, 60, 0), OpenLoop(50, 60, 0), OpenLoop(0.02, 60, 0)])
def test_a_stop_ends_a_load_and_keeps_what_came(plan: Plan) -> None:
    result = load(FakeTarget(at_once), plan, stop_after_s=0.2)
    assert len(result.samples) > 0
    assert 0.15 < result.seconds < 30


def test_a_caller_that_was_refused_waits_a_moment() -> None:
    async def refused(number: int, message: bytes) -> Answer:
        return Answer(code="429 overloaded", message="Full.")

    result = load(FakeTarget(refused), ClosedLoop(1, duration_s=0.3, warm_up_s=0))
    assert 0 < result.summary().errors["429 overloaded"] <= 31


def test_a_load_does_not_begin_where_nothing_answers() -> None:
    class Gone(FakeTarget):
        async def open(self) -> None:
            raise ServiceUnreachable("nobody")

    target = Gone(at_once)
    with pytest.raises(ServiceUnreachable):
        load(target, ClosedLoop(3))
    assert target.open_senders == 0
    assert not target.sent
