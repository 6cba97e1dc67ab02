"""Calls that need no key have few places, so that nobody without one can take those of the others."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from running_service import free_ports, running

from service.grpc_patience import OPEN_CALLS, OPEN_MESSAGE_S

CHECK = "/grpc.health.v1.Health/Check"


def test_silent_calls_without_a_key_are_few_and_short(tmp_path: Path) -> None:
    with running(tmp_path, free_ports(home=tmp_path)) as (service, _):
        asyncio.run(scenario(f"127.0.0.1:{service.ports.grpc}"))


async def scenario(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(20 * OPEN_MESSAGE_S):
        silent = [channel.stream_unary(CHECK)(nothing()) for _ in range(OPEN_CALLS + 1)]
        codes = [await each.code() for each in silent]
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 1
        assert codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) == OPEN_CALLS
        assert await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())


async def nothing() -> AsyncIterator[bytes]:
    """A stream that never says anything."""
    await asyncio.Event().wait()
    yield b""
