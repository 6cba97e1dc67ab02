"""The load generator's gRPC, against a server that answers as a test tells it to."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import grpc
import pytest
import trustme
from installation import free_port

from protos import ripen_v1_pb2 as v1
from ripen import bench_grpc
from ripen.bench_grpc import CALLS_PER_CHANNEL, GrpcTarget, Method, classify
from ripen.bench_load import run_load
from ripen.bench_plan import Answer, ClosedLoop
from ripen.bench_result import LoadResult
from ripen.errors import CannotMeasure, InvalidCredentials, ServiceUnreachable

Handle = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]
ECHO = Method("/any.Service/Echo", lambda image: image + b"?", lambda body: Answer(int(body[:1]), 0.5))


class Server(grpc.GenericRpcHandler):
    """Answers every method with `handle`."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.peers: set[str] = set()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.details = details

        async def call(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.peers.add(context.peer())
            return await self._handle(message, context)

        return grpc.unary_unary_rpc_method_handler(call)

    async def ask(self, method: Method, plan: ClosedLoop, **options: object) -> LoadResult:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        target = GrpcTarget(f"127.0.0.1:{port}", method, **options)  # type: ignore[arg-type]  # a test's
        try:
            return await run_load(target, [b"1", b"2"], plan)
        finally:
            await target.close()
            await server.stop(None)


async def echo(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return message


def test_any_method_can_be_called_over_several_connections() -> None:
    server = Server(echo)
    plan = ClosedLoop(2 * CALLS_PER_CHANNEL + 1, 60, 0, count=200)
    result = asyncio.run(server.ask(ECHO, plan, metadata={"authorization": "Bearer k"}))
    assert result.samples.versions() == {1: 100, 2: 100}
    assert server.details.method == "/any.Service/Echo"
    assert ("authorization", "Bearer k") in server.details.invocation_metadata
    assert len(server.peers) == 3


def test_classify_asks_and_reads() -> None:
    async def handle(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        asked = v1.ClassifyRequest.FromString(message)
        assert (asked.model, asked.version, len(asked.images)) == ("fruit", 4, 1)
        prediction = v1.Prediction(label="a", probability=0.25)
        answer = v1.ClassifyResponse(model=v1.ModelSpec(version=4), predictions=[prediction])
        return bytes(answer.SerializeToString())

    result = asyncio.run(Server(handle).ask(classify("fruit", 4), ClosedLoop(1, 60, 0, count=3)))
    assert result.samples.versions() == {4: 3}
    assert result.samples.probability.tolist() == [0.25] * 3


def test_a_refusal_keeps_its_names_and_its_words() -> None:
    async def refuse(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        named = (("ripen-error-code", "overloaded"),) if message == b"1?" else ()
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "The queue is full.", named)
        raise AssertionError

    result = asyncio.run(Server(refuse).ask(ECHO, ClosedLoop(1, 60, 0, count=4)))
    assert result.summary().errors == {"RESOURCE_EXHAUSTED overloaded": 2, "RESOURCE_EXHAUSTED": 2}
    assert set(result.messages.values()) == {"The queue is full."}


def test_nobody_there_is_said_at_once() -> None:
    async def run() -> None:
        target = GrpcTarget(f"127.0.0.1:{free_port()}", ECHO)
        try:
            await asyncio.wait_for(target.sender().open(), 5)
        finally:
            await target.close()

    with pytest.raises(ServiceUnreachable, match="No gRPC service answers at 127"):
        asyncio.run(run())


def test_tls_trusts_whom_it_is_told_to(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority, other = trustme.CA(), trustme.CA()
    files = []
    for number, one in enumerate((authority, other)):
        files.append(tmp_path_factory.mktemp("ca") / f"{number}.pem")
        one.cert_pem.write_to_path(str(files[-1]))
    certificate = authority.issue_cert("localhost")
    chain, key = certificate.cert_chain_pems[0].bytes(), certificate.private_key_pem.bytes()

    async def run() -> Answer:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Server(echo),))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
        await server.start()
        targets = [GrpcTarget(f"localhost:{port}", ECHO, tls=True, trust=file) for file in files]
        try:
            with pytest.raises(ServiceUnreachable):
                await targets[1].sender().open()
            return await targets[0].sender().send(targets[0].encode(b"3"))
        finally:
            await asyncio.gather(*(target.close() for target in targets))
            await server.stop(None)

    assert asyncio.run(run()) == Answer(3, 0.5)
    with pytest.raises(InvalidCredentials, match="cannot be read"):
        GrpcTarget("localhost:1", ECHO, tls=True, trust=files[0] / "none")


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc.aio", None)
    with pytest.raises(CannotMeasure, match=r'pip install "ripen\[service\]"'):
        bench_grpc.classify("default")
