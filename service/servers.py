"""The two listening servers: bind, serve, drain, stop. LINE A step 1.

Ports are bound before anything slow, so that a taken one is said at once. uvicorn's own handling of signals is off: on
SIGTERM it would close the listener before the requests under way are answered.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator

import grpc
import uvicorn
from grpc_health.v1 import health_pb2_grpc

from contract.errors import AddressInUse
from contract.settings import Settings
from service.access import SPARE_REQUESTS, Access
from service.grpc_access import GrpcAccess
from service.protocols import rest_application
from service.protocols.core import Core
from service.protocols.grpc_health import HealthGrpc
from service.protocols.grpc_ripen import RipenGrpc
from service.protocols.grpc_tf_serving import TfServingGrpc

LAST_ANSWERS_S = 5.0  # for what is not a prediction: a listing, a scrape, an upload
BACKLOG = 1024
logger = logging.getLogger(__name__)


class Ports:
    """The two ports, bound but not yet listened to.

    Args:
        settings: host and ports; port 0 takes any free one.

    Raises:
        AddressInUse: names the port, its setting and how to mend it.
    """

    def __init__(self, settings: Settings) -> None:
        self.host = settings.host
        self.rest_socket = _bind(settings.host, settings.rest_port, "RIPEN_REST_PORT")
        try:
            grpc_socket = _bind(settings.host, settings.grpc_port, "RIPEN_GRPC_PORT")
        except AddressInUse:
            self.rest_socket.close()
            raise
        self.rest = int(self.rest_socket.getsockname()[1])
        self.grpc = int(grpc_socket.getsockname()[1])
        grpc_socket.close()  # grpc binds by itself; its own error says only "Failed to bind"


class Servers:
    """REST and gRPC over one core, on one event loop."""

    def __init__(self, core: Core, ports: Ports) -> None:
        self._core = core
        self._ports = ports
        self._rest = _RestServer(_rest_configuration(core))
        self._grpc = _grpc_server(core)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen on both ports.

        Raises:
            AddressInUse: the gRPC port was taken in the meantime.
        """
        address = f"[{self._ports.host}]" if ":" in self._ports.host else self._ports.host
        try:
            self._grpc.add_insecure_port(f"{address}:{self._ports.grpc}")
        except RuntimeError as error:
            raise _in_use(self._ports.host, self._ports.grpc, "RIPEN_GRPC_PORT") from error
        await self._grpc.start()
        self._serving = asyncio.create_task(self._rest.serve([self._ports.rest_socket]))
        logger.info("REST on %s port %d, gRPC on port %d.", self._ports.host, self._ports.rest, self._ports.grpc)

    async def stop(self) -> None:
        """Not ready any more, answer what is under way, refuse what comes, close; within `drain_timeout_s`."""
        drain_s = self._core.settings.drain_timeout_s
        until = asyncio.get_running_loop().time() + drain_s
        self._core.readiness.stop()
        self._core.predictor.drain()
        if not await self._core.predictor.idle(drain_s):
            logger.warning("Some predictions were not answered within %s s; they are cut off.", drain_s)
        left_s = max(0.0, min(LAST_ANSWERS_S, until - asyncio.get_running_loop().time()))
        self._rest.config.timeout_graceful_shutdown = left_s  # type: ignore[assignment]  # given to wait_for as it is
        self._rest.should_exit = True
        await self._grpc.stop(left_s)
        if self._serving is not None:
            await self._serving


class _RestServer(uvicorn.Server):
    """uvicorn without its own signal handlers: `__main__.py` has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _rest_configuration(core: Core) -> uvicorn.Config:
    application = rest_application.build(core)
    return uvicorn.Config(
        Access(application, core.metrics, core.versions.known_models, core.settings),
        http="h11",  # one parser, whatever else is installed
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
    )


def _grpc_server(core: Core) -> grpc.aio.Server:
    most = core.settings.max_request_bytes
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", most),
            ("grpc.so_reuseport", 0),  # else a second service would share the port instead of failing
        ],
        maximum_concurrent_rpcs=core.settings.queue_size + SPARE_REQUESTS,
    )
    access = GrpcAccess(core.metrics, core.versions.known_models)
    server.add_generic_rpc_handlers((*TfServingGrpc(core).handlers(access), *RipenGrpc(core).handlers(access)))
    health_pb2_grpc.add_HealthServicer_to_server(HealthGrpc(core.readiness), server)
    return server


def _bind(host: str, port: int, setting: str) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _in_use(host, port, setting, error) from error
    return listener


def _in_use(host: str, port: int, setting: str, error: OSError | None = None) -> AddressInUse:
    if error is not None and error.errno != errno.EADDRINUSE:
        return AddressInUse(f"Port {port} of {host} cannot be used ({error.strerror}); set {setting} to another port.")
    return AddressInUse(
        f"Port {port} of {host} is taken by another program; stop that program or set {setting} to another port."
    )
