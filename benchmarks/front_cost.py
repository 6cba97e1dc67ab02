"""What one request costs the server: processor time of the front process and of the engine process, per protocol.

usage: python benchmarks/front_cost.py [--requests 4000] [--rounds 5] [--protocols rest ripen.v1 tf_serving bare_grpc]

A real service on the ordinary path (leases, metrics, limits, request ids, timeouts), whose engine process does all but
decode and infer. `bare_grpc` is grpc.aio alone, whose one method gives back the same bytes each time: what a Python
server of gRPC costs at least on this machine. The image has 33 KB. Load comes from a process of its own (closed loop),
which is not counted. Medians of the rounds, which go through all protocols and concurrencies in turn. Exits with 1
where a request costs too much.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import httpx

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

import service_process  # noqa: E402  # the tests' own way to start the service and to publish a tiny version
import tiny_version  # noqa: E402

from protos import ripen_v1_pb2  # noqa: E402
from service import __main__ as service_main  # noqa: E402
from service import engine  # noqa: E402

CONCURRENCIES = (1, 8, 32)
MOST_MS = {"rest": 0.25, "ripen.v1": 0.40, "tf_serving": 0.40, "bare_grpc": float("inf")}  # both processes
CLASSIFY = "/ripen.v1.Classifier/Classify"
COMMENT_BYTES = 33_000
WARM_UP = 300


def main() -> int:
    """Measure, print, and say by the status whether all is within the limits."""
    if sys.argv[1:] == ["serve"]:
        engine.MODULE = "benchmarks.empty_engine"
        return service_main.main([])
    if sys.argv[1:2] == ["bare"]:
        asyncio.run(serve_bare())
        return 0
    if sys.argv[1:2] == ["drive"]:
        asyncio.run(drive(json.loads(sys.argv[2])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--protocols", nargs="+", choices=list(MOST_MS), default=list(MOST_MS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        service_process.publish(home, 1, bias=0.5)
        with served(home) as process, bare() as bare_process:
            process.wait_for(process.ready)
            return report(measure(process, bare_process, options))


@contextlib.contextmanager
def served(home: Path) -> Iterator[service_process.Process]:
    """A service with an empty engine."""
    variables = service_process.environment(home, RIPEN_LIFELINE=1)
    variables["PYTHONPATH"] = str(PROJECT)
    log = home.parent / "service.log"
    command = [sys.executable, __file__, "serve"]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stderr=stderr) as popen,
    ):
        with httpx.Client(base_url=f"http://127.0.0.1:{variables['RIPEN_REST_PORT']}", timeout=20) as client:
            yield service_process.Process(popen, client, f"127.0.0.1:{variables['RIPEN_GRPC_PORT']}", log)
        popen.kill()


@contextlib.contextmanager
def bare() -> Iterator[tuple[int, str]]:
    """The process id and address of a server that is nothing but grpc.aio."""
    with subprocess.Popen([sys.executable, __file__, "bare"], stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdout is not None
        yield popen.pid, popen.stdout.readline().strip()
        popen.kill()


async def serve_bare() -> None:
    """Answer Classify with constant bytes until killed."""
    answer = ripen_v1_pb2.ClassifyResponse(
        predictions=[ripen_v1_pb2.Prediction(label="orange", probability=0.5)]
    ).SerializeToString()

    async def classify(_request: bytes, _context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        return answer

    service, _, method = CLASSIFY[1:].partition("/")
    server = grpc.aio.server()
    handlers = {method: grpc.unary_unary_rpc_method_handler(classify)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    await server.start()
    await server.wait_for_termination()


def measure(
    process: service_process.Process, bare_process: tuple[int, str], options: argparse.Namespace
) -> dict[tuple[str, int], tuple[float, float, float]]:
    """Per protocol and concurrency the medians: ms of the front and of the engine per request, requests per second."""
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    image = Path(process.log.parent / "image.jpg")
    image.write_bytes(commented(tiny_version.picture(1)))
    port = process.client.base_url.port
    cases = list(itertools.product(options.protocols, CONCURRENCIES))
    for _, (protocol, concurrency) in itertools.product(range(options.rounds), cases):
        order = {"protocol": protocol, "concurrency": concurrency, "requests": options.requests, "image": str(image)}
        pid, address = bare_process if protocol == "bare_grpc" else (process.popen.pid, process.grpc_address)
        order |= {"address": f"127.0.0.1:{port}" if protocol == "rest" else address}
        found.setdefault((protocol, concurrency), []).append(one_round(pid, order))
    return {case: tuple(map(statistics.median, zip(*rounds, strict=True))) for case, rounds in found.items()}


def one_round(pid: int, order: dict[str, object]) -> tuple[float, float, float]:
    """Drive one load; the driver says when it is warm and when it is done."""
    command = [sys.executable, __file__, "drive", json.dumps(order)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdin is not None
        driver.stdout.readline()
        engines = children(pid)
        before = [seconds(pid), sum(map(seconds, engines))]
        driver.stdin.write("go\n")
        driver.stdin.flush()
        took_s = float(driver.stdout.readline())
        after = [seconds(pid), sum(map(seconds, engines))]
    count = float(str(order["requests"]))
    front, in_engine = (1000 * (b - a) / count for a, b in zip(before, after, strict=True))
    return front, in_engine, count / took_s


def report(found: dict[tuple[str, int], tuple[float, float, float]]) -> int:
    """Print the table; 1 where a request costs more than it may."""
    print("protocol    concurrency  front ms  engine ms  both ms  requests/s  may cost")
    missed = 0
    for (protocol, concurrency), (front, in_engine, rate) in found.items():
        both, most = front + in_engine, MOST_MS[protocol]
        missed |= both > most
        print(f"{protocol:<12}{concurrency:>11}{front:>10.3f}{in_engine:>11.3f}{both:>9.3f}{rate:>12.0f}{most:>10.2f}")
    return int(missed)


def commented(jpeg: bytes) -> bytes:
    """The picture with a comment behind its first marker."""
    return jpeg[:2] + b"\xff\xfe" + (COMMENT_BYTES + 2).to_bytes(2, "big") + bytes(COMMENT_BYTES) + jpeg[2:]


def seconds(pid: int) -> float:
    """Processor time of a process so far, of all its threads, by the scheduler's nanoseconds."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = [path.parent.name for path in Path("/proc").glob("[0-9]*/stat") if parent(path) == pid]
    return [int(name) for name in found]


def parent(stat: Path) -> int:
    """Whose child it is; 0 where it has gone."""
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


async def drive(order: dict[str, object]) -> None:
    """The load: warm up, say so, wait for a line, send, say how long it took."""
    image, address = Path(str(order["image"])).read_bytes(), str(order["address"])  # noqa: ASYNC240  # before the load
    make = {"rest": rest_sender, "tf_serving": tf_serving_sender}.get(str(order["protocol"]), ripen_sender)
    senders = [await make(address, image) for _ in range(int(str(order["concurrency"])))]
    loop = asyncio.get_running_loop()

    async def send(count: int) -> None:
        left = itertools.repeat(None, count)

        async def one(sender: Callable[[], Awaitable[None]]) -> None:
            for _ in left:
                await sender()

        await asyncio.gather(*map(one, senders))

    await send(WARM_UP)
    print("warm", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    began = loop.time()
    await send(int(str(order["requests"])))
    print(loop.time() - began, flush=True)


class Answers(asyncio.Protocol):
    """One HTTP connection: sends the same request again and again, and looks only whether the answer is a 200."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.came = b""
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.came += data
        head, end, body = self.came.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            assert head.startswith(b"HTTP/1.1 200"), self.came
            self.came = b""
            self.answer.set_result(None)


async def rest_sender(address: str, image: bytes) -> Callable[[], Awaitable[None]]:
    """POST /api/v1/predict with a raw body, and the headers of an ordinary client."""
    host, _, port = address.partition(":")
    _, connection = await asyncio.get_running_loop().create_connection(Answers, host, int(port))
    head = (
        f"POST /api/v1/predict HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
        f"Connection: keep-alive\r\nUser-Agent: front-cost/1\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(image)}\r\n\r\n"
    )
    request = head.encode() + image

    async def send() -> None:
        connection.answer = asyncio.get_running_loop().create_future()
        connection.transport.write(request)
        await connection.answer

    return send


CHANNELS: dict[str, grpc.aio.Channel] = {}


async def ripen_sender(address: str, image: bytes) -> Callable[[], Awaitable[None]]:
    """Classify of ripen.v1."""
    channel = CHANNELS.setdefault(address, grpc.aio.insecure_channel(address))
    request = ripen_v1_pb2.ClassifyRequest(images=[ripen_v1_pb2.Image(data=image)]).SerializeToString()
    call = channel.unary_unary(CLASSIFY)

    async def send() -> None:
        await call(request, timeout=30)

    return send


async def tf_serving_sender(address: str, image: bytes) -> Callable[[], Awaitable[None]]:
    """Predict of TensorFlow Serving with `image_bytes`."""
    from service.tf_serving_stubs import predict_pb2, tensor_pb2, types_pb2  # noqa: PLC0415  # slow to import

    channel = CHANNELS.setdefault(address, grpc.aio.insecure_channel(address))
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[image])
    tensor.tensor_shape.dim.add().size = 1
    request = predict_pb2.PredictRequest(inputs={"image_bytes": tensor})
    request.model_spec.name = "default"
    message = request.SerializeToString()
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    async def send() -> None:
        await call(message, timeout=30)

    return send


if __name__ == "__main__":
    sys.exit(main())
