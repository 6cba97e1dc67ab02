"""A step in a process of its own: what it tells is heard, and however it ends, it is said."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from contract.errors import ConversionFailed
from retrain.own_process import OwnProcess


def runner(tmp_path: Path, body: str, timeout_s: float = 60) -> OwnProcess:
    """Runs `body`, whatever module is asked for."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(body))
    return OwnProcess((sys.executable, str(program)), timeout_s)


def test_what_a_step_tells_is_heard_and_what_libraries_print_is_not(tmp_path: Path) -> None:
    body = """
        import os, sys
        from retrain.own_process import be_child
        def step(tell):
            print("noise"); os.write(1, b"more noise\\n")
            tell(" ".join(sys.argv[1:])); tell("done")
        be_child(step)
    """
    heard: list[str] = []
    runner(tmp_path, body).run("some.module", "one", "two", tell=heard.append)
    assert heard == ["some.module one two", "done"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL, often for want of memory"),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("from retrain.own_process import be_child; be_child(lambda tell: 1 / 0)", "ZeroDivisionError: division by"),
        ("from retrain.own_process import be_child; be_child(lambda tell: __import__('absent'))", "named 'absent'"),
    ],
)
def test_its_end_is_said(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(ConversionFailed, match=words):
        runner(tmp_path, body).run("some.module", tell=lambda _: None)


def test_it_is_in_its_jobs_process_group_and_on_its_share_of_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """
        import os
        from retrain.own_process import be_child
        be_child(lambda tell: tell(f"{os.getpgrp()} {len(os.sched_getaffinity(0))}"))
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    heard: list[str] = []
    runner(tmp_path, body).run("some.module", tell=heard.append)
    assert heard == [f"{os.getpgrp()} 1"]


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    started_s = time.monotonic()
    with pytest.raises(ConversionFailed, match=r"longer than 0\.5 s"):
        runner(tmp_path, "import threading; threading.Event().wait()", 0.5).run("some.module", tell=lambda _: None)
    assert time.monotonic() - started_s < 30


def test_one_that_cannot_be_started_is_said() -> None:
    with pytest.raises(ConversionFailed, match="/no/python could not be started"):
        OwnProcess(("/no/python",)).run("some.module", tell=lambda _: None)


def test_it_ends_when_nobody_listens_any_more(tmp_path: Path) -> None:
    body = "import os, threading; print(os.getpid(), flush=True); threading.Event().wait()"
    told: list[int] = []

    def refuse(line: str) -> None:
        told.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, body).run("some.module", tell=refuse)
    with pytest.raises(ProcessLookupError):
        os.kill(told[0], 0)


def test_it_goes_with_its_parent(tmp_path: Path) -> None:
    """The parent kills itself; the child holds its stderr, which ends only when both are gone."""
    child = tmp_path / "child.py"
    child.write_text(
        "import threading; from retrain.own_process import be_child\n"
        "def step(tell): tell('here'); threading.Event().wait()\nbe_child(step)"
    )
    parent = (
        "import os, sys, retrain.own_process as own\n"
        f"run = own.OwnProcess((sys.executable, {str(child)!r})).run\n"
        "run('some.module', tell=lambda line: os.kill(os.getpid(), 9))"
    )
    done = subprocess.run([sys.executable, "-c", parent], stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (-9, b"")
