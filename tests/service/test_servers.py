"""Ports: taken ones are named, freed ones can be used again at once."""

import socket
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from running_service import free_ports, picture, running

from contract.errors import AddressInUse
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
