"""Reflection, asked with the library's own client: all is described, where everybody may do everything."""

from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from running_service import RunningService, free_ports, running

SERVICES = {
    "grpc.health.v1.Health": ["Check", "Watch"],
    "ripen.v1.Classifier": ["Classify", "ClassifyStream"],
    "tensorflow.serving.ModelService": ["GetModelStatus"],
    "tensorflow.serving.PredictionService": ["Predict", "GetModelMetadata"],
}


def described(service: RunningService) -> dict[str, Sequence[str]]:
    with grpc.insecure_channel(service.grpc_address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        names = [name for name in database.get_services() if not name.startswith("grpc.reflection")]
        return {name: [method.name for method in pool.FindServiceByName(name).methods] for name in names}


def test_every_service_is_described(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _):
        found = described(service)
        assert found.keys() == {*SERVICES, "ripen.v1.Learning"}
        for name, methods in SERVICES.items():
            assert set(methods) <= set(found[name])
        assert {"AddExamples", "WatchJob", "RollBack"} <= set(found["ripen.v1.Learning"])


def test_there_is_no_reflection_where_keys_are_asked_for(tmp_path: Path) -> None:
    with running(tmp_path, free_ports(home=tmp_path, behind_proxy=True)) as (service, _):
        with grpc.insecure_channel(service.grpc_address) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.ServerReflectionInfo(iter([asked]), timeout=20))
        assert caught.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED)
