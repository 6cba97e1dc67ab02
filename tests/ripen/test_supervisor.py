"""Children that crash, end, hang and refuse to start, as real processes."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ripen.supervisor import Program, Supervisor, restart_delay_s

RUN_UNTIL_TERM = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print('up', flush=True)
signal.sigwait([signal.SIGTERM])
print('drained', flush=True)
"""
IGNORE_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
BAD_SETTING = "import sys; print('RIPEN_PORT is 0; expected 1-65535.'); print(); sys.exit(78)"
LIFELINE = "import os, sys; assert os.environ['RIPEN_LIFELINE'] == '1'; print('up', flush=True); sys.stdin.read()"


class Watched:
    """A supervisor of one program, and what it said."""

    def __init__(self, logs: Path, code: str) -> None:
        self.said: list[str] = []
        self.failed = threading.Event()
        self.log = logs / "child.log"
        program = Program("child", (sys.executable, "-c", code))
        self.supervisor = Supervisor(
            [program], dict(os.environ), logs, say=self.said.append, on_failure=self.failed.set
        )
        self.supervisor.start()

    @property
    def pid(self) -> int:
        return self.supervisor._children[0].process.pid

    def wait_for_output(self, text: str, count: int = 1) -> None:
        wait_until(lambda: self.log.read_text().count(text) >= count)


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("status", "lived_s", "failures", "was_stable", "expected"),
    [
        (78, 100, 0, True, None),  # a bad setting stays bad
        (1, 2, 0, False, None),  # it said why it cannot start
        (1, 2, 0, True, 1),  # it could once: the database may come back
        (1, 2, 3, True, 8),
        (1, 2, 30, True, 30),
        (-9, 2, 0, False, 1),
        (-9, 60, 0, False, 0),
        (0, 60, 0, False, 0),
        (0, 1, 1, False, 2),
    ],
)
def test_restart_delay(status: int, lived_s: float, failures: int, was_stable: bool, expected: float | None) -> None:
    assert restart_delay_s(status, lived_s=lived_s, failures=failures, was_stable=was_stable) == expected


def test_stop_lets_a_child_drain(tmp_path: Path) -> None:
    watched = Watched(tmp_path, RUN_UNTIL_TERM)
    watched.wait_for_output("up")
    pid = watched.pid
    watched.supervisor.stop()
    assert watched.log.read_text() == "up\ndrained\n"
    assert not alive(pid)
    assert (watched.said, watched.supervisor.failure) == ([], None)


def test_a_crashed_child_is_started_again(tmp_path: Path) -> None:
    watched = Watched(tmp_path, RUN_UNTIL_TERM)
    watched.wait_for_output("up")
    os.kill(watched.pid, signal.SIGKILL)
    watched.wait_for_output("up", 2)
    watched.supervisor.stop()
    (line,) = watched.said
    assert "The child was killed by signal 9" in line
    assert "starting it again in 1 s" in line


def test_a_child_that_cannot_start_is_given_up_with_its_last_line(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("an old line\n")
    watched = Watched(tmp_path, BAD_SETTING)
    assert watched.failed.wait(20)
    assert watched.supervisor.failure == "The child cannot run: RIPEN_PORT is 0; expected 1-65535."
    watched.supervisor.stop()


def test_a_silent_child_that_cannot_start_points_to_its_log(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("an old line\n")
    watched = Watched(tmp_path, "raise SystemExit(1)")
    assert watched.failed.wait(20)
    assert "wrote nothing to" in (watched.supervisor.failure or "")
    watched.supervisor.stop()


def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    watched = Watched(tmp_path, IGNORE_TERM)
    watched.wait_for_output("up")
    pid = watched.pid
    watched.supervisor.stop(timeout_s=0.2)
    assert not alive(pid)


def test_kill_ends_everything_at_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path, IGNORE_TERM)
    watched.wait_for_output("up")
    watched.supervisor.kill()
    assert watched.supervisor._children[0].process.wait(20) == -signal.SIGKILL
    watched.supervisor.stop()


def test_a_child_sees_the_end_of_its_parent(tmp_path: Path) -> None:
    watched = Watched(tmp_path, LIFELINE)
    watched.wait_for_output("up")
    child = watched.supervisor._children[0]
    watched.supervisor._stopping.set()
    watched.supervisor._watching.join()
    assert child.process.stdin
    child.process.stdin.close()  # as the kernel does when the parent dies
    assert child.process.wait(20) == 0


WRITE_MUCH = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
for turn in range(5):
    print(f'turn {turn}', 'x' * 1000, flush=True)
    signal.sigwait([signal.SIGUSR1])
signal.sigwait([signal.SIGTERM])
"""


def test_a_long_log_begins_anew_and_one_older_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ripen.supervisor.MAX_LOG_BYTES", 1500)
    (tmp_path / "child.log").write_text("before\n" * 1000)
    older = tmp_path / "child.log.1"
    watched = Watched(
        tmp_path, "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])" + WRITE_MUCH
    )
    for turn in range(5):
        wait_until(lambda: f"turn {turn}" in watched.log.read_text() + older.read_text())  # noqa: B023  # called at once
        wait_until(lambda: watched.log.stat().st_size <= 1500)
        os.kill(watched.pid, signal.SIGUSR1)
    assert "turn 4" in watched.log.read_text()
    assert "before" not in watched.log.read_text() + older.read_text()
    assert "turn 3" in older.read_text()
    assert older.stat().st_size < 4000
    watched.supervisor.stop()
    assert {path.name for path in tmp_path.iterdir()} == {"child.log", "child.log.1"}
