"""LocalProcessEngine with a tiny real child in place of a training."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from database_records import job

from backends.jobs import LocalJob, LocalProcessEngine
from contract.errors import TrainingFailed

# The child connects to its test, says what it is, and then behaves as its first argument says.
CHILD = """
import json, os, signal, socket, subprocess, sys, threading
how, port = sys.argv[1], int(sys.argv[2])
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
line = socket.create_connection(("127.0.0.1", port))
line.set_inheritable(True)
names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "RIPEN_LIFELINE", "COLOUR")
seen = {name: os.environ.get(name) for name in names}
seen |= {"arguments": sys.argv[3:], "pid": os.getpid(), "group": os.getpgid(0)}
sleep = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
if how in ("parent", "stubborn", "leaves"):
    subprocess.Popen(sleep, pass_fds=[line.fileno()])
line.sendall(json.dumps(seen).encode() + b"\\n")
if how == "waits for stdin":
    sys.stdin.read()
elif how not in ("leaves", "exits"):
    threading.Event().wait()
line.recv(1)
sys.exit(3)
"""


class Child:
    """The test's end of one child: what it said, and whether it, or a process it started, still lives."""

    def __init__(self, how: str, *, threads: int = 0, environment: dict[str, str] | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            command = (sys.executable, "-c", CHILD, how, str(port))
            engine = LocalProcessEngine(command, train_threads=threads, environment=environment)
            self.running = engine.launch(replace(job(), id="abc", attempt=2))
            server.settimeout(60)
            self.line, _ = server.accept()
        self.line.settimeout(60)
        self._file = self.line.makefile("rb")
        self.said = msgspec.json.decode(self._file.readline(), type=dict[str, int | str | list[str] | None])

    def wait_until_nobody_lives(self) -> None:
        """The line ends once every process that inherited it has gone."""
        assert self._file.read() == b""

    def wait_for_exit(self) -> int:
        deadline = time.monotonic() + 60
        while (status := self.running.poll()) is None:
            assert time.monotonic() < deadline
            os.sched_yield()
        return status

    def close(self) -> None:
        self.running.stop(grace_s=0)
        self._file.close()
        self.line.close()


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.close()


def _start(children: list[Child], how: str, *, threads: int = 0, environment: dict[str, str] | None = None) -> Child:
    children.append(Child(how, threads=threads, environment=environment))
    return children[-1]


def test_command_environment_and_priority(children: list[Child]) -> None:
    child = _start(children, "waits", threads=3, environment={"COLOUR": "red"})
    said = child.said
    assert said["arguments"] == ["run", "abc", "--model", "fruit", "--attempt", "2"]
    assert [said[name] for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")] == ["3"] * 3
    assert (said["RIPEN_LIFELINE"], said["COLOUR"]) == ("1", "red")
    assert said["group"] == said["pid"] != os.getpgid(0)
    assert os.getpriority(os.PRIO_PROCESS, int(str(said["pid"]))) == 19
    assert child.running.poll() is None
    autogroup = Path(f"/proc/{said['pid']}/autogroup")
    if autogroup.exists() and autogroup.read_text().strip():
        assert autogroup.read_text().endswith("nice 19\n")


def test_one_core_is_left_to_serving(children: list[Child]) -> None:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    assert _start(children, "waits").said["OMP_NUM_THREADS"] == str(max(1, cores - 1))


def test_exit_status(children: list[Child]) -> None:
    child = _start(children, "exits")
    child.line.sendall(b"x")
    assert child.wait_for_exit() == 3
    child.running.stop(grace_s=60)
    assert child.running.poll() == 3


def test_stop_asks_first(children: list[Child]) -> None:
    child = _start(children, "waits")
    child.running.stop(grace_s=60)
    assert child.running.poll() == -signal.SIGTERM
    child.running.stop(grace_s=60)


@pytest.mark.parametrize(("how", "status"), [("parent", -signal.SIGTERM), ("stubborn", -signal.SIGKILL)])
def test_stop_ends_grandchildren_too(children: list[Child], how: str, status: int) -> None:
    child = _start(children, how)
    child.running.stop(grace_s=0.2)
    assert child.running.poll() == status
    child.wait_until_nobody_lives()


def test_stop_ends_a_paused_job(children: list[Child]) -> None:
    child = _start(children, "waits")
    os.kill(int(str(child.said["pid"])), signal.SIGSTOP)
    child.running.stop(grace_s=0.1)
    assert child.running.poll() in (-signal.SIGTERM, -signal.SIGKILL)  # Linux ends it by the first already


def test_what_an_ended_job_leaves_behind_is_killed(children: list[Child]) -> None:
    child = _start(children, "leaves")
    child.line.sendall(b"x")
    assert child.wait_for_exit() == 3
    child.wait_until_nobody_lives()


def test_lifeline_stays_open_while_the_job_is_held(children: list[Child]) -> None:
    child = _start(children, "waits for stdin")
    assert child.running.poll() is None
    assert isinstance(child.running, LocalJob)
    stdin = child.running._process.stdin
    assert stdin is not None
    stdin.close()  # as the kernel does when the worker dies
    child.line.sendall(b"x")
    assert child.wait_for_exit() == 3


def test_command_that_does_not_exist() -> None:
    with pytest.raises(TrainingFailed, match="/no/such/python"):
        LocalProcessEngine(("/no/such/python",)).launch(job())
