"""A whole Ripen as its user starts it: `ripen up` in a folder of its own, on free ports, as real processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

RIPEN = Path(sys.executable).with_name("ripen")
RECIPE = '{"backbone": "Compact"}'  # without a network, and without the warning that ImageNet weights cannot be had


class Installation:
    """`home` holds its state; `rest_url`, `grpc_address` say where it answers; `log` is what `ripen up` printed."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self.home = home
        self.rest_port, self.grpc_port = free_port(), free_port()
        self.rest_url = f"http://127.0.0.1:{self.rest_port}"
        self.grpc_address = f"127.0.0.1:{self.grpc_port}"
        self._arguments = arguments
        self._environment = {"RIPEN_RECIPE": RECIPE, "RIPEN_GATE_POLICY": "always", **environment}
        self.http = httpx.Client(base_url=self.rest_url, timeout=60)

    @property
    def log(self) -> str:
        return (self.home.parent / f"{self.home.name}.log").read_text()

    def start(self) -> "Installation":
        """Start `ripen up` and return once it says that it is ready."""
        with (self.home.parent / f"{self.home.name}.log").open("w") as log:
            self.process = subprocess.Popen(
                [RIPEN, "up", "--home", self.home, *self._ports(), *self._arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
            )
        self.wait_for(lambda: "Ripen is ready" in self.log, 240, "ready service")
        return self

    def stop(self) -> int:
        """Ctrl-C, and the exit status."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(60)
        self.http.close()
        return status

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Poll until the condition holds and return the seconds that it took."""
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            if self.process.poll() is not None:
                raise AssertionError(f"ripen up ended with {self.process.returncode}:\n{self.log}")
            if condition():
                return time.monotonic() - began
            time.sleep(0.05)
        raise AssertionError(f"no {what} within {timeout_s} s:\n{self.log}")

    def live(self) -> int | None:
        with contextlib.suppress(httpx.TransportError):
            answer = self.http.get("/api/v1/versions")
            return answer.json()["live"] if answer.status_code == 200 else None
        return None

    def job(self, job_id: str) -> dict[str, object]:
        return dict(self.http.get(f"/api/v1/jobs/{job_id}").raise_for_status().json())

    def wait_for_job(self, job_id: str, timeout_s: float = 180) -> dict[str, object]:
        self.wait_for(lambda: self.job(job_id)["state"] not in ("queued", "running"), timeout_s, "end of the job")
        return self.job(job_id)

    def predict(self, image: bytes, version: int | None = None) -> float:
        parameters = {"version": version} if version else {}
        headers = {"content-type": "image/jpeg"}
        answer = self.http.post("/api/v1/predict", content=image, params=parameters, headers=headers)
        return float(answer.raise_for_status().json()["predictions"][0]["probability"])

    def metric(self, line_start: str) -> float:
        """The sum of all samples whose line begins so."""
        lines = self.http.get("/metrics").raise_for_status().text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(line_start))

    def processes(self, command: str) -> list[int]:
        """The process ids below `ripen up` whose command line holds `command`."""
        return [pid for pid in descendants(self.process.pid) if command in command_line(pid)]

    def _ports(self) -> list[str]:
        return ["--rest-port", str(self.rest_port), "--grpc-port", str(self.grpc_port)]


def descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def resident_mib(pid: int) -> float:
    """Resident memory of one process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no memory")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
