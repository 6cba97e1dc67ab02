"""The table of roles: every route and method has a row, every row a route or method, and the right row is found."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import grpc
import pytest
from fastapi import APIRouter
from running_service import running
from starlette.routing import BaseRoute, Mount, Route

from contract.keys import Role
from service import servers
from service.grpc_gate import GrpcGate
from service.protocols import rest_application
from service.protocols.core import Core
from service.roles import ADMIN, ANY, GRPC, LABEL, NOBODY, OPEN, PREDICT, PREDICT_OR_OBSERVE, REST, RestRoles


def rest_routes(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of every route: FastAPI keeps an included router as one route of its own kind."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if isinstance(inner, APIRouter):
            yield from rest_routes(inner.routes, prefix + route.include_context.prefix)
        elif isinstance(route, Mount):
            yield "GET", f"{prefix}{route.path}/{{path:path}}"
        else:
            assert isinstance(route, Route)
            yield from ((method, prefix + route.path) for method in route.methods or ())


def test_every_rest_route_has_a_row_and_every_row_a_route() -> None:
    routes = set(rest_routes(rest_application.build(cast(Core, None)).routes))
    asked = {(method, path) for method, path in routes if method != "HEAD"}
    assert len(asked) > 40
    assert asked == set(REST)
    assert {("GET", path) for method, path in routes if method == "HEAD"} <= set(REST)


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("POST", "/api/v1/predict", PREDICT),
        ("POST", "/api/v1/predict\n", PREDICT),  # the router's patterns let a last newline through
        ("GET", "/api/v1/jobs/x:cancel", REST["GET", "/api/v1/jobs/{job_id}"]),
        ("POST", "/api/v1/examples:import", LABEL),
        ("DELETE", "/api/v1/examples/:import", ADMIN),
        ("DELETE", "/api/v1/models/default", ADMIN),
        ("POST", "/v1/Models/default:PREDICT", PREDICT),
        ("POST", "/V1/models/default:predict", PREDICT),
        ("GET", "/v1/models/default/versions/2/metadata", PREDICT_OR_OBSERVE),
        ("HEAD", "/openapi.json", REST["GET", "/openapi.json"]),
        ("GET", "/static-offline-docs/swagger-ui.css", REST["GET", "/docs"]),
        ("GET", "/healthz", OPEN),
        ("POST", "/healthz", ANY),
        ("GET", "/healthz/", ANY),
        ("GET", "/nowhere", ANY),
    ],
)
def test_a_request_finds_its_row(method: str, path: str, roles: frozenset[Role] | None) -> None:
    assert RestRoles().of(method, path) == roles


def test_only_health_is_open() -> None:
    assert {path for (_, path), roles in REST.items() if roles is OPEN} == {"/healthz", "/readyz"}
    assert {name.split("/")[1] for name, roles in GRPC.items() if roles is OPEN} == {"grpc.health.v1.Health"}
    assert {name for name, roles in GRPC.items() if roles == NOBODY} == {
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    }


class RecordingServer:
    """The part of a gRPC server that handlers are added to."""

    def __init__(self) -> None:
        self.methods: set[str] = set()

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        for handler in handlers:
            if isinstance(handler, GrpcGate):
                self.add_generic_rpc_handlers(handler._behind)
                continue
            self.methods.update(handler._method_handlers)  # grpc has no public way to list them

    def add_registered_method_handlers(self, service: str, handlers: Iterable[str]) -> None:
        self.methods.update(f"/{service}/{name}" for name in handlers)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_every_grpc_method_has_a_row_and_every_row_a_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    recorder = RecordingServer()
    with running(tmp_path) as (service, _):
        monkeypatch.setattr(servers.grpc.aio, "server", lambda **_: recorder)
        core = replace(service.core, settings=replace(service.settings, host=host))
        servers._grpc_server(core)
    there = {name for name, roles in GRPC.items() if roles != NOBODY or core.settings.open}
    assert recorder.methods == there
