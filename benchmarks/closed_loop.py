"""A closed-loop load that costs little: so many requests are always under way, over HTTP/1.1 or gRPC.

It shares the cores with the server. What came is kept as bytes and looked at afterwards.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

CALLS_PER_CHANNEL = 16
TIMEOUT_S = 60.0
WARM_UP_SHARE = 0.3


@dataclass(frozen=True)
class Load:
    """What is sent where.

    Attributes:
        address: HOST:PORT.
        path: of HTTP, or gRPC's full method name where `content_type` is empty.
        requests: bodies or messages, sent in turn.
        concurrency: requests under way.
        seconds: that are measured, after WARM_UP_SHARE of them and as many answers as `concurrency`, as warm-up.
    """

    address: str
    path: str
    content_type: str
    requests: tuple[bytes, ...]
    concurrency: int
    seconds: float


@dataclass
class Record:
    """What came within the measured seconds, and all errors; `answers` are (index of the request, bytes)."""

    latencies_s: list[float] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_s: float = 0.0


class _Schedule:
    """Which request is next, whether it counts, and when it is over."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.record = Record()
        self.measuring = self.over = False
        self.warm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cold = load.concurrency
        self._next = 0

    def next(self) -> int:
        self._next += 1
        return self._next % len(self.load.requests)

    def came(self, began: float, image: int, body: bytes, error: str) -> None:
        """One answer, or one error."""
        self._cold -= 1
        if self._cold == 0:
            self.warm.set_result(None)
        if error:  # one in the warm-up is no better
            self.record.errors.append(error)
        elif self.measuring:
            self.record.latencies_s.append(time.perf_counter() - began)
            self.record.answers.append((image, body))


class _Connection(asyncio.Protocol):
    """One HTTP connection that sends the next request as soon as an answer is whole."""

    def __init__(self, schedule: _Schedule) -> None:
        self._schedule = schedule
        load = schedule.load
        self._head = (
            f"POST {load.path} HTTP/1.1\r\nHost: {load.address}\r\nContent-Type: {load.content_type}\r\n"
            "Accept: application/json\r\nContent-Length: "
        ).encode()
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._schedule.over:
            self._schedule.came(self._began, self._image, b"", f"connection lost: {error}")
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        rest = self._buffer[end + 4 :]
        start = head.find(b"content-length:")
        body = rest if start >= 0 else _unchunk(rest)
        if body is None or (start >= 0 and len(rest) < int(head[start + 15 :].split(b"\r\n", 1)[0])):
            return
        status = head[9:12]
        error = "" if status == b"200" else f"{status.decode()} {body[:200]!r}"
        self._schedule.came(self._began, self._image, body, error)
        self._send()

    def _send(self) -> None:
        if self._schedule.over:
            self._transport.close()
            return
        self._image = self._schedule.next()
        self._buffer = b""
        self._began = time.perf_counter()
        body = self._schedule.load.requests[self._image]
        self._transport.writelines([self._head, b"%d\r\n\r\n" % len(body), body])


def _unchunk(data: bytes) -> bytes | None:
    """The body of an answer in chunks, or None while it is not whole. Source: RFC 9112, 7.1."""
    body = b""
    while line := data.find(b"\r\n") + 1:
        size = int(data[: line - 1].split(b";")[0], 16)
        if size == 0:
            return body
        body += data[line + 1 : line + 1 + size]
        data = data[line + 1 + size + 2 :]
    return None


async def run(load: Load, cpu_s: Callable[[], float]) -> Record:
    """Send for the load's seconds.

    Args:
        load: what and where.
        cpu_s: the server's CPU time so far; asked at the beginning and the end of what is measured.
    """
    schedule = _Schedule(load)
    calls = (
        asyncio.gather(*(_http(schedule) for _ in range(load.concurrency))) if load.content_type else _grpc(schedule)
    )
    sending = asyncio.ensure_future(calls)
    await asyncio.wait([sending], timeout=WARM_UP_SHARE * load.seconds)
    await asyncio.wait([sending, schedule.warm], timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    schedule.measuring, cpu, began = True, cpu_s(), time.perf_counter()
    await asyncio.wait([sending], timeout=load.seconds)
    schedule.measuring = False
    schedule.over = True
    schedule.record.seconds, schedule.record.cpu_s = time.perf_counter() - began, cpu_s() - cpu
    await asyncio.wait_for(sending, TIMEOUT_S)
    return schedule.record


async def _http(schedule: _Schedule) -> None:
    host, _, port = schedule.load.address.rpartition(":")
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: _Connection(schedule), host, int(port))
    await connection.closed


async def _grpc(schedule: _Schedule) -> None:
    load = schedule.load
    own = [("grpc.use_local_subchannel_pool", 1)]  # else two channels share one connection
    count = -(-load.concurrency // CALLS_PER_CHANNEL)
    channels = [grpc.aio.insecure_channel(load.address, options=own) for _ in range(count)]
    methods = [channel.unary_unary(load.path) for channel in channels]
    await asyncio.gather(*(_call(schedule, methods[number % count]) for number in range(load.concurrency)))
    for channel in channels:
        await channel.close()


async def _call(schedule: _Schedule, method: grpc.aio.UnaryUnaryMultiCallable) -> None:
    while not schedule.over:
        image, began = schedule.next(), time.perf_counter()
        try:
            answer = await method(schedule.load.requests[image], timeout=TIMEOUT_S)
            schedule.came(began, image, answer, "")
        except grpc.aio.AioRpcError as error:
            schedule.came(began, image, b"", f"{error.code().name} {error.details()}"[:200])
            await asyncio.sleep(0.01)
