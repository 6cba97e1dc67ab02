"""500 slow or silent connections per port, of every kind, while others are served as if there were none. Row A15."""

import asyncio
import os
import resource
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_version
from open_loop import OpenLoop, percentile
from service_process import Process, publish, started

PER_KIND = 100
CLOSED_WITHIN_S = 15.0
PATIENCE_S = 40.0
HEAD = b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LARGE = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name: bytes, value: bytes) -> bytes:
    """One header of HPACK, without an index."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, ACKNOWLEDGED = frame(4, 0, 0), frame(4, 1, 0)
REQUEST = b"\x83\x86" + field(b":path", b"/ripen.v1.Classifier/Classify") + field(b":authority", b"localhost")
REQUEST += field(b"content-type", b"application/grpc") + field(b"te", b"trailers")
HELLO = PREFACE + SETTINGS + ACKNOWLEDGED
CALL = HELLO + frame(1, 4, 1, REQUEST)


@dataclass(frozen=True)
class Kind:
    """What one hostile client does: sends `first`, then `drip` once a second; a slow reader takes 10 bytes a second."""

    name: str
    first: bytes = b""
    drip: bytes = b""
    reads_slowly: bool = False


REST = (
    Kind("silent"),
    Kind("half a head", HEAD + b"X: "),
    Kind("dripping head", HEAD + b"X: ", drip=b"a"),
    Kind("stalled body", HEAD + b"Content-Length: 100\r\n\r\nabc"),
    Kind("dripping body", HEAD + b"Content-Length: 100\r\n\r\nabc", drip=b"a"),
    Kind("slow reader", LARGE, reads_slowly=True),
)
GRPC = (
    Kind("silent"),
    Kind("half a preface", PREFACE[:10]),
    Kind("preface and settings", PREFACE + SETTINGS),
    Kind("settings, never a ping", HELLO),
    Kind("call without a message", CALL),
    Kind("dripping message", CALL + frame(0, 0, 1, struct.pack(">BI", 0, 100)), drip=frame(0, 0, 1, b"a")),
)


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process holds a thousand connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def open_until_closed(port: int, kind: Kind) -> float:
    """Seconds until the service closed the connection; `PATIENCE_S` where it did not."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        if kind.reads_slowly:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        began = loop.time()
        try:
            await loop.sock_sendall(connection, kind.first)
            while loop.time() - began < PATIENCE_S and not await closed_within_a_second(connection, kind):
                await loop.sock_sendall(connection, kind.drip)
        except OSError:
            pass  # reset, or no longer there: closed
        return loop.time() - began


async def closed_within_a_second(connection: socket.socket, kind: Kind) -> bool:
    loop = asyncio.get_running_loop()
    until = loop.time() + 1.0
    size = 10 if kind.reads_slowly else 65536
    while loop.time() < until:
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return True
        try:
            async with asyncio.timeout_at(until):
                if not await loop.sock_recv(connection, size):
                    return True
                if kind.reads_slowly:
                    await asyncio.Event().wait()
        except TimeoutError:
            pass
    return False


async def attack(ports: dict[str, int]) -> dict[tuple[str, str], list[float]]:
    """All hostile clients at once; per protocol and kind how long each stayed connected."""
    kinds = [("REST", kind) for kind in REST] + [("gRPC", kind) for kind in GRPC]
    async with asyncio.TaskGroup() as tasks:
        running = {
            (protocol, kind.name): [
                tasks.create_task(open_until_closed(ports[protocol], kind)) for _ in range(PER_KIND)
            ]
            for protocol, kind in kinds
        }
    return {which: [task.result() for task in done] for which, done in running.items()}


def resident_bytes(process: Process) -> int:
    pages = int(Path(f"/proc/{process.popen.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.usefixtures("many_files")
def test_hostile_clients_are_closed_and_good_ones_do_not_notice(tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(home, 1, bias=0.5)
    with started(home) as process:
        process.wait_for(process.ready)
        ports = {"REST": int(process.client.base_url.port or 0), "gRPC": int(process.grpc_address.rsplit(":", 1)[1])}
        images = [tiny_version.picture(seed) for seed in range(8)]
        load = OpenLoop(str(process.client.base_url), process.grpc_address, images, connections=4, rate=20).start()
        before = resident_bytes(process)
        began = time.monotonic()
        stayed = asyncio.run(attack(ports))
        seconds = time.monotonic() - began
        grown = resident_bytes(process) - before
        replies = load.stop()
        assert "Traceback" not in process.log.read_text()
    for (protocol, kind), each in stayed.items():
        print(f"{protocol} {kind}: {len(each)} closed after {min(each):.1f}-{max(each):.1f} s")
    print(
        f"{len(replies)} good requests in {seconds:.0f} s, {sum(bool(reply.error) for reply in replies)} failed, "
        f"p50 {percentile(replies, 0.5) * 1000:.0f} ms, p99 {percentile(replies, 0.99) * 1000:.0f} ms; "
        f"the front process grew by {grown / 2**20:.1f} MiB"
    )
    assert not [reply.error for reply in replies if reply.error]
    assert len(replies) > 10 * seconds
    assert not {which: max(each) for which, each in stayed.items() if max(each) > CLOSED_WITHIN_S}
    assert grown < 100 * 2**20
