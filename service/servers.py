"""The two listening servers: bind, serve, drain, stop. LINE A step 1.

Ports are bound and the certificate is read before anything slow, so that what is wrong with them is said at once.
"""

import asyncio
import errno
import logging
import socket

import grpc
from grpc_health.v1 import health_pb2_grpc

from contract.errors import AddressInUse
from contract.settings import Settings
from service.access import SPARE_REQUESTS, Access
from service.grpc_access import GrpcAccess
from service.grpc_gate import GrpcGate
from service.grpc_patience import GrpcPatience
from service.grpc_streams import GrpcStreams
from service.protocols import rest_application
from service.protocols.core import Core
from service.protocols.grpc_feedback import FeedbackGrpc
from service.protocols.grpc_health import HealthGrpc
from service.protocols.grpc_learning import LearningGrpc
from service.protocols.grpc_reflection import reflect
from service.protocols.grpc_ripen import RipenGrpc
from service.protocols.grpc_tf_serving import TfServingGrpc
from service.protocols.raw_predict import RawPredict
from service.rest_server import BACKLOG, RestServer
from service.tls import certificate_of

# Found by experiment with grpcio 1.85: `keepalive_timeout_ms` alone ends nothing (its timer is never set), the ping
# timeout does; who never acknowledges our SETTINGS is held back by `settings_timeout` alone.
_GRPC_LIMITS = [
    ("grpc.so_reuseport", 0),  # else a second service would share the port instead of failing
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.http2.settings_timeout", 10_000),
    ("grpc.keepalive_time_ms", 4_000),  # with the ping timeout 12 s, the longest that a silent client stays
    ("grpc.keepalive_timeout_ms", 8_000),
    ("grpc.http2.ping_timeout_ms", 8_000),  # a slow upload's answer to a ping waits behind what was sent already
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # of clients' own pings; the default is 5 minutes
    ("grpc.max_connection_idle_ms", 5 * 60_000),
    ("grpc.max_connection_age_ms", 60 * 60_000),  # so that clients look for new services now and then
    ("grpc.max_connection_age_grace_ms", 5 * 60_000),
    ("grpc.max_concurrent_streams", 128),
    ("grpc.max_metadata_size", 8 * 1024),
]
logger = logging.getLogger(__name__)


class Ports:
    """The two ports, bound but not yet listened to, and their certificate, if there is one.

    Args:
        settings: host and ports; port 0 takes any free one.

    Raises:
        AddressInUse: names the port, its setting and how to mend it.
        InvalidSetting: the certificate or its key cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.certificate = certificate_of(settings)
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
        self.access = Access(
            RawPredict(rest_application.build(core), core),
            core.metrics,
            core.versions.known_models,
            core.settings,
            core.callers,
        )
        self._rest = RestServer(self.access, core.settings, core.metrics.count_rejection, ports.certificate)
        self._grpc = _grpc_server(core)

    async def start(self) -> None:
        """Listen on both ports.

        Raises:
            AddressInUse: the gRPC port was taken in the meantime.
        """
        host = self._ports.host
        address = f"[{host}]:{self._ports.grpc}" if ":" in host else f"{host}:{self._ports.grpc}"
        try:
            if self._ports.certificate is None:
                self._grpc.add_insecure_port(address)
            else:
                self._grpc.add_secure_port(address, self._ports.certificate.grpc_credentials())
        except RuntimeError as error:
            raise _in_use(host, self._ports.grpc, "RIPEN_GRPC_PORT") from error
        await self._grpc.start()
        await self._rest.start(self._ports.rest_socket)
        logger.info("REST on %s port %d, gRPC on port %d.", host, self._ports.rest, self._ports.grpc)

    async def stop(self) -> None:
        """Say "not ready" for `drain_delay_s`, refuse, answer what is under way within `drain_timeout_s`, close."""
        settings = self._core.settings
        self._core.readiness.stop()
        self._rest.close_after_answers()
        await asyncio.sleep(settings.drain_delay_s)
        await asyncio.gather(self._rest.drain(settings.drain_timeout_s), self._grpc.stop(settings.drain_timeout_s))
        await self._rest.stop()


def _grpc_server(core: Core) -> grpc.aio.Server:
    access = GrpcAccess(core.metrics, core.versions.known_models, core.callers)
    server = grpc.aio.server(
        options=[*_GRPC_LIMITS, *_grpc_limits(core.settings)],
        maximum_concurrent_rpcs=core.settings.queue_size + SPARE_REQUESTS,
    )
    streams = GrpcStreams(access, core.settings.request_timeout_s)
    patience = GrpcPatience(core.settings.request_timeout_s)
    gate = GrpcGate(core.callers, access, patience, lambda: core.predictor.refuse_early(None))
    gate.add_generic_rpc_handlers(
        (
            *TfServingGrpc(core).handlers(access),
            *RipenGrpc(core).handlers(access, streams),
            *LearningGrpc(core).handlers(access, streams),
            *FeedbackGrpc(core).handlers(access),
        )
    )
    health_pb2_grpc.add_HealthServicer_to_server(HealthGrpc(core.readiness), gate)
    server.add_generic_rpc_handlers((gate,))
    if core.settings.open:
        reflect(server)
    return server


def _grpc_limits(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_send_message_length", settings.max_request_bytes),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
    ]


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
