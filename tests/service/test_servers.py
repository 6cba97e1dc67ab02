"""Ports: taken ones are named, freed ones can be used again at once. And how the two servers stop."""

import resource
import socket
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from running_service import RunningService, free_ports, picture, running

from contract.errors import AddressInUse
from service.open_files import allow_all_open_files
from service.servers import Ports


@pytest.mark.parametrize(("field", "setting"), [("rest_port", "RIPEN_REST_PORT"), ("grpc_port", "RIPEN_GRPC_PORT")])
def test_a_taken_port_is_named(field: str, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"Port {port} of 127.0.0.1 is taken.*{setting}"):
            Ports(free_ports(**{field: port}))


def test_ports_can_be_used_again_at_once(tmp_path: Path) -> None:
    settings = free_ports(home=tmp_path)
    with running(tmp_path, settings) as (service, client):
        assert client.post("/api/v1/predict", content=picture()).status_code == 200
        settings = replace(settings, rest_port=service.ports.rest, grpc_port=service.ports.grpc)
    with running(tmp_path, settings) as (service, client):
        assert client.get("/healthz").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(service.rest_url)


def test_a_port_that_is_taken_after_the_check_is_named_too(tmp_path: Path) -> None:
    settings = free_ports(home=tmp_path)
    with running(tmp_path, settings) as (first, _):
        (tmp_path / "second").mkdir()
        second = RunningService(tmp_path / "second", settings)
        second.ports.grpc = first.ports.grpc
        with pytest.raises(AddressInUse, match=f"Port {first.ports.grpc} of 127.0.0.1 is taken.*RIPEN_GRPC_PORT"):
            second.start()
        second.ports.rest_socket.close()
        second.database.close()


def test_answers_of_a_stopping_service_end_their_connections(tmp_path: Path) -> None:
    with running(tmp_path) as (service, client):

        async def begin_to_stop() -> None:
            service.servers._rest.close_after_answers()

        assert "connection" not in client.get("/healthz").headers
        service.call(begin_to_stop)
        for _ in range(2):  # a balancer may still send for a while
            answer = client.post("/api/v1/predict", content=picture())
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_all_open_files_are_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        allow_all_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
