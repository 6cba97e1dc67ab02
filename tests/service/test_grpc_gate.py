"""Who comes too late ends at the gate of the gRPC port, whether or not it sends its images."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from running_service import RunningService, running

from contract.errors import Overloaded


async def code_and_metadata(service: RunningService, method: str) -> tuple[grpc.StatusCode, dict[str, str]]:
    """How a call ends whose message never comes."""

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        call = channel.stream_unary(method)(nothing(), timeout=20)
        return await call.code(), dict(await call.trailing_metadata())


@pytest.mark.parametrize("method", ["/ripen.v1.Classifier/Classify", "/tensorflow.serving.PredictionService/Predict"])
def test_who_comes_too_late_is_told_before_the_message(tmp_path: Path, method: str) -> None:
    with running(tmp_path) as (service, _):
        service.predictor.refusal = Overloaded("An answer would take too long.")
        code, told = asyncio.run(code_and_metadata(service, method))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert told["ripen-error-code"] == "overloaded"
        assert 1000 <= int(told["grpc-retry-pushback-ms"]) <= 5000
        name = method.rpartition("/")[2]
        assert service.metric(f'ripen_requests_total{{code="RESOURCE_EXHAUSTED",method="{name}"') == 1
