"""The benchmarks' closed loop on real sockets: so many requests stay under way, and what comes is told right."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from running_service import RunningService, picture

from benchmarks.closed_loop import Load, run
from benchmarks.serving_requests import RIPEN, Asking, PeerGrpc

SECONDS = 0.6


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = RunningService(tmp_path_factory.mktemp("service")).start()
    yield running
    running.stop()


def load(service: RunningService, protocol: Asking, images: list[bytes], concurrency: int) -> Load:
    address = service.rest_url.removeprefix("http://") if protocol.content_type else service.grpc_address
    requests = tuple(protocol.encode(image) for image in images)
    return Load(address, protocol.path, protocol.content_type, requests, concurrency, SECONDS)


@pytest.mark.parametrize("protocol", RIPEN, ids=lambda protocol: protocol.name)
def test_every_answer_is_kept_with_the_image_it_belongs_to(service: RunningService, protocol: Asking) -> None:
    values = [0, 51, 102, 255]
    told_cpu = iter((1.0, 1.5))
    record = asyncio.run(run(load(service, protocol, [picture(one) for one in values], 5), lambda: next(told_cpu)))
    assert record.errors == []
    assert record.cpu_s == 0.5
    assert len(record.answers) == len(record.latencies_s) > 4
    for image, answer in record.answers:
        version, probability = protocol.decode(answer)
        assert version > 0
        assert probability == pytest.approx(values[image] / 255, abs=1e-6)


@pytest.mark.parametrize("protocol", RIPEN[:2], ids=lambda protocol: protocol.name)
def test_refused_requests_are_errors(service: RunningService, protocol: Asking) -> None:
    record = asyncio.run(run(load(service, protocol, [b"no image"], 2), lambda: 0.0))
    assert record.answers == []
    assert record.errors
    assert all("invalid_image" in error or "INVALID_ARGUMENT" in error for error in record.errors)


def test_a_connection_that_the_server_closes_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=close_after_a_while, args=(listener,), daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        record = asyncio.run(run(Load(address, "/", "image/jpeg", (b"x",), 1, 2.0), lambda: 0.0))
    assert [error.partition(":")[0] for error in record.errors] == ["connection lost"]


def close_after_a_while(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.settimeout(1.2)
    try:
        while connection.recv(1000):
            pass
    except TimeoutError:
        connection.close()


def test_the_open_inference_messages_are_those_of_the_protocol() -> None:
    """Written out by hand. Source: Open Inference Protocol, grpc_predict_v2.proto."""
    tensor = b"\x0a\x05image\x12\x05BYTES\x1a\x02\x01\x01\x2a\xcb\x01\x42\xc8\x01" + b"j" * 200
    assert PeerGrpc().encode(b"j" * 200) == b"\x0a\x0aclassifier\x2a" + b"\xe0\x01" + tensor
    probability = np.float32(0.25).tobytes()
    assert PeerGrpc().decode(b"\x0a\x01m\x2a\x06\x0a\x01p\x1a\x01\x01\x32\x04" + probability) == (0, 0.25)
    contents = b"\x32\x04" + probability
    assert PeerGrpc().decode(b"\x2a" + bytes([len(contents) + 2]) + b"\x2a\x06" + contents) == (0, 0.25)
