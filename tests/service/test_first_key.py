"""`python -m service wait-for-key`, the first container of a pod, beside `python -m service keys`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RIPEN_")}
    return {**kept, "RIPEN_HOME": str(tmp_path / "home")}


@pytest.fixture
def waiting(variables: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """The process, once it has said what it waits for."""
    command = [sys.executable, "-m", "service", "wait-for-key"]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "ripen keys add" in json.loads(process.stdout.readline())["state"]
        yield process
        process.kill()


def keys(variables: dict[str, str], *arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", "service", "keys", *arguments]
    answer = subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(answer))


def test_it_ends_when_there_is_a_key(waiting: "subprocess.Popen[str]", variables: dict[str, str]) -> None:
    made = keys(variables, "add", "--client", "ops", "--role", "admin")
    rest, _ = waiting.communicate(timeout=60)
    assert (json.loads(rest), waiting.returncode) == ({"state": "ready"}, 0)
    assert str(made["key"]) not in rest


def test_a_revoked_key_is_none(waiting: "subprocess.Popen[str]", variables: dict[str, str]) -> None:
    waiting.send_signal(signal.SIGSTOP)
    made = keys(variables, "add", "--client", "ops", "--role", "admin")
    keys(variables, "revoke", str(made["id"]))
    waiting.send_signal(signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=3)


def test_sigterm_ends_it(waiting: "subprocess.Popen[str]") -> None:
    waiting.terminate()
    assert waiting.wait(timeout=30) == 128 + signal.SIGTERM
