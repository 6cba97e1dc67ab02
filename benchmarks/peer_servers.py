"""The peers: which there are, each in an environment of its own, started on a free port and ended by pid."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import msgspec

from benchmarks.bench_versions import BenchVersions
from benchmarks.process_tree import ProcessTree
from contract.openvino_model import Precision
from contract.records import RuntimeChoice

SERVERS = Path(__file__).with_name("peers")
CLASSIFIER = ("tensorflow==2.21.0", "openvino==2026.4.1", "simplejpeg==1.9.0", "opencv-python-headless", "pillow")
START_S = 240.0
CORES = len(os.sched_getaffinity(0))
LAST_NUMBER = re.compile(rb"([-+.0-9eE]+)[\s\]}]*$")


@dataclass(frozen=True)
class Peer:
    """One way to serve the same network.

    Attributes:
        name: in the table and of its environment's folder.
        packages: pinned; the classifier's come on top.
        command: PYTHON, PORT and SECOND_PORT are replaced.
        path: of a prediction; for `grpc` the method.
        ready: path that answers 200 once it is.
        form: the field of a form that the image is sent in; empty, or on `raw_on`: the raw body.
        grpc: Open Inference Protocol over gRPC on SECOND_PORT.
        runtimes: it is measured with.
        environment: variables on top.
    """

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    path: str = "/predict"
    ready: str = "/docs"
    form: str = ""
    raw_on: tuple[RuntimeChoice, ...] = ()
    grpc: bool = False
    runtimes: tuple[RuntimeChoice, ...] = (RuntimeChoice.TENSORFLOW, RuntimeChoice.OPENVINO)
    environment: Mapping[str, str] = field(default_factory=dict)
    framework: bool = True


def parse(body: bytes) -> float:
    """The probability in a peer's JSON: the last number."""
    found = LAST_NUMBER.search(body)
    return float(found[1]) if found else float("nan")


FASTAPI = ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "python-multipart==0.0.31")
PEERS = (
    Peer("fastapi", FASTAPI, ("PYTHON", "fastapi_plain.py", "PORT"), framework=False),
    Peer(
        "keras-predict",
        FASTAPI,
        ("PYTHON", "fastapi_keras.py", "PORT"),
        form="file",
        runtimes=(RuntimeChoice.TENSORFLOW,),
        framework=False,
    ),
    Peer(
        "litserve",
        ("litserve==0.2.19", "python-multipart==0.0.31"),
        ("PYTHON", "litserve_server.py", "PORT"),
        ready="/health",
        form="request",
    ),
    Peer(
        "bentoml",
        ("bentoml==1.4.39",),
        ("PYTHON", "-m", "bentoml", "serve", "bentoml_server:Classifier", "--host", "127.0.0.1", "--port", "PORT"),
        ready="/readyz",
        form="images",
        raw_on=(RuntimeChoice.OPENVINO,),  # its batches take no raw body
        environment={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Peer(
        "mlserver",
        ("mlserver==1.7.1", "uvloop==0.21.0"),
        ("PYTHON", "-m", "mlserver.cli.main", "start", "."),
        ready="/v2/models/classifier/ready",
        grpc=True,
    ),
    Peer(
        "ray-serve",
        ("ray[serve]==2.60.0",),
        ("PYTHON", "ray_server.py", "PORT"),
        ready="/-/healthz",
        environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "200"},
    ),
    Peer(
        "triton",
        ("nvidia-pytriton==0.7.0",),
        ("PYTHON", "triton_server.py", "PORT", "SECOND_PORT"),
        ready="/v2/models/classifier/ready",
        grpc=True,
        environment={"PYTRITON_NO_TENSORSTORE": "1"},  # its store fails where its Python 3.11 is older than ours
    ),
)


@dataclass(frozen=True)
class RunningPeer:
    """A peer that answers."""

    peer: Peer
    runtime: RuntimeChoice
    port: int
    second_port: int
    tree: ProcessTree

    @property
    def form(self) -> str:
        """The field of a form that the image is sent in, or nothing for the raw body."""
        return "" if self.runtime in self.peer.raw_on else self.peer.form


def prepare_environment(peer: Peer, cache: Path) -> Path:
    """Make the peer's environment where there is none yet, and return its Python.

    Raises:
        subprocess.CalledProcessError: its packages cannot be installed here.
    """
    folder = cache / "peers" / peer.name
    wanted = "\n".join([*peer.packages, *CLASSIFIER])
    python = folder / "bin" / "python"
    done = folder / "requirements.txt"
    if not done.exists() or done.read_text() != wanted:
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, *peer.packages, *CLASSIFIER], check=True)
        done.write_text(wanted)
    return python


@contextlib.contextmanager
def started(
    peer: Peer, versions: BenchVersions, runtime: RuntimeChoice, precision: Precision, *, cache: Path
) -> Iterator[RunningPeer]:
    """Run the peer on version 1 until the block ends.

    Raises:
        PeerFailed: it did not become ready; with the end of its log.
    """
    python = prepare_environment(peer, cache)
    port, second = free_port(), free_port()
    place = cache / "runs" / f"{peer.name}-{runtime}"
    place.mkdir(parents=True, exist_ok=True)
    _write_mlserver_settings(place, port, second)
    names = {"PYTHON": str(python), "PORT": str(port), "SECOND_PORT": str(second)}
    command = [names.get(part, str(SERVERS / part) if part.endswith(".py") else part) for part in peer.command]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RIPEN_")},
        **peer.environment,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(SERVERS),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "BENCH_FOLDER": str(versions.folders[0]),
        "BENCH_KERAS": str(versions.keras_file),
        "BENCH_RUNTIME": runtime.value,
        "BENCH_PRECISION": precision.value,
    }
    with (place / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True)
    tree = ProcessTree(process.pid)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}{peer.ready}", place / "log")
        yield RunningPeer(peer, runtime, port, second, tree)
    finally:
        tree.end()
        process.wait()


class PeerFailed(Exception):
    """A peer did not become ready."""


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(URLError, OSError), urlopen(url, timeout=2) as answer:  # noqa: S310  # on loopback
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise PeerFailed(f"{url} did not become ready:\n{log.read_text(errors='replace')[-1500:]}")


def _write_mlserver_settings(place: Path, port: int, grpc_port: int) -> None:
    """MLServer reads its settings from the folder that it is started in."""
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc_port,
        "metrics_port": free_port(),
        "parallel_workers": CORES,
        "environments_dir": str(place / "environments"),
    }
    model = {"name": "classifier", "implementation": "mlserver_model.Classifier"}
    (place / "settings.json").write_bytes(msgspec.json.encode(server))
    (place / "model-settings.json").write_bytes(msgspec.json.encode(model))


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
