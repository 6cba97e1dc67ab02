"""gRPC server reflection, so that tools such as grpcurl need no .proto files. LINE A step 1.

Only where everybody who reaches the port may do everything: it tells all there is. Source: grpc.reflection.v1alpha.
"""

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]  # ships no types

from protos import ripen_v1_pb2
from service.tf_serving_stubs import model_service_pb2, prediction_service_pb2

DESCRIBED = (ripen_v1_pb2, prediction_service_pb2, model_service_pb2, health_pb2)


def reflect(server: grpc.aio.Server) -> None:
    """Add reflection of all services to a server that is not started yet."""
    names = [service.full_name for module in DESCRIBED for service in module.DESCRIPTOR.services_by_name.values()]
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
