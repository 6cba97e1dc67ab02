"""`python -m service` on a bench home, as it ships: forced to one runtime and precision, on free ports."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.peer_servers import free_port
from benchmarks.process_tree import ProcessTree, rss_bytes
from contract.openvino_model import Precision
from contract.records import RuntimeChoice

START_S = 120.0


@dataclass(frozen=True)
class RunningRipen:
    """A service that is ready. `start_s` is what that took, from the process's start."""

    rest_address: str
    grpc_address: str
    tree: ProcessTree
    start_s: float

    def memory_bytes(self) -> tuple[int, int]:
        """Resident bytes of the front process and of its engine, the largest of its children."""
        children = [pid for pid in self.tree.pids() if pid != self.tree.pid]
        return rss_bytes(self.tree.pid), max((rss_bytes(pid) for pid in children), default=0)


@contextlib.contextmanager
def started(home: Path, runtime: RuntimeChoice, precision: Precision, **settings: object) -> Iterator[RunningRipen]:
    """Run the service until the block ends; `settings` are further ones, by their names."""
    rest_port, grpc_port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RIPEN_")}
    environment |= {
        "RIPEN_HOME": str(home),
        "RIPEN_REST_PORT": str(rest_port),
        "RIPEN_GRPC_PORT": str(grpc_port),
        "RIPEN_RUNTIME": runtime.value,
        "RIPEN_PRECISION": "auto" if runtime is RuntimeChoice.TENSORFLOW else precision.value,
        "RIPEN_LIFELINE": "1",  # it ends with this process, however that ends
        **{f"RIPEN_{name.upper()}": str(value) for name, value in settings.items()},
    }
    log = home.parent / "service.log"
    began = time.monotonic()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], env=environment, stdin=subprocess.PIPE, stderr=stderr
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{rest_port}/readyz", log)
        start_s = time.monotonic() - began
        addresses = (f"127.0.0.1:{rest_port}", f"127.0.0.1:{grpc_port}")
        yield RunningRipen(*addresses, ProcessTree(process.pid), start_s)
    finally:
        ProcessTree(process.pid).end()
        process.communicate()


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(URLError, OSError), urlopen(url, timeout=5) as answer:  # noqa: S310  # on loopback
            if answer.status == 200:
                return
        time.sleep(0.02)
    raise SystemExit(f"The service did not become ready; the end of {log}:\n{log.read_text()[-2000:]}")
