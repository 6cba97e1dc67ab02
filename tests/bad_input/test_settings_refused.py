"""Rows J1-J6: a setting that cannot be used ends the start with status 78 and one line that names it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from service_process import DEADLINE_S, environment

from service.__main__ import EXIT_BAD_SETTING, main

SECRET = "s3cret"  # no password: only its absence is looked for
Row = tuple[dict[str, str], str]
READ: dict[str, Row] = {
    "J1 port too high": ({"RIPEN_REST_PORT": "99999"}, "RIPEN_REST_PORT is '99999'"),
    "J1 port no number": ({"RIPEN_GRPC_PORT": "abc"}, "RIPEN_GRPC_PORT is 'abc'"),
    "J1 one port for both": ({"RIPEN_REST_PORT": "8500", "RIPEN_GRPC_PORT": "8500"}, "RIPEN_GRPC_PORT are both 8500"),
    "J1 nothing": ({"RIPEN_QUEUE_SIZE": "0"}, "RIPEN_QUEUE_SIZE is '0'"),
    "J1 below nothing": ({"RIPEN_MAX_REQUEST_BYTES": "-1"}, "RIPEN_MAX_REQUEST_BYTES is '-1'"),
    "J1 infinite": ({"RIPEN_MAX_IMAGE_PIXELS": "inf"}, "RIPEN_MAX_IMAGE_PIXELS is 'inf'"),
    "J1 not a number": ({"RIPEN_DRAIN_TIMEOUT_S": "nan"}, "RIPEN_DRAIN_TIMEOUT_S is 'nan'"),
    "J2 unknown": ({"RIPEN_HOTS": "0.0.0.0"}, "RIPEN_HOTS is not a setting"),
    "J3 open to all": ({"RIPEN_HOST": "0.0.0.0"}, "RIPEN_INSECURE=true"),
    "J3 half open": ({"RIPEN_HOST": "::", "RIPEN_INSECURE": "0"}, "RIPEN_BEHIND_PROXY=true"),
    "J3 a name": ({"RIPEN_HOST": "example.org"}, "RIPEN_HOST is 'example.org'"),
    "J4 certificate alone": ({"RIPEN_TLS_CERT": "/none.pem"}, "RIPEN_TLS_KEY"),
}
OPENED: dict[str, Row] = {
    "J6 database of no kind": ({"RIPEN_DATABASE_URL": f"oracel://u:{SECRET}@h/d"}, "'oracel'"),
    "J6 database of no form": ({"RIPEN_DATABASE_URL": f"u:{SECRET}@h"}, "database URL"),
}
STARTED: dict[str, Row] = {
    "J3 nobody has a key": ({"RIPEN_BEHIND_PROXY": "true"}, "ripen keys add --home"),
    "J4 no certificate": ({"RIPEN_TLS_CERT": "/none.pem", "RIPEN_TLS_KEY": "/none.pem"}, "RIPEN_TLS_CERT"),
}


def check(status: int, said: str, text: str) -> None:
    lines = [line for line in text.splitlines() if " INFO " not in line]
    assert status == EXIT_BAD_SETTING, text
    assert said in text
    assert len(lines) == 1, text
    assert SECRET not in text


@pytest.mark.parametrize("row", [*READ, *OPENED])
def test_a_setting_that_cannot_be_used_ends_the_start(
    row: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings, said = (READ | OPENED)[row]
    for name in [name for name in os.environ if name.startswith("RIPEN_")]:
        monkeypatch.delenv(name)
    for name, value in {"RIPEN_HOME": str(tmp_path), **settings}.items():
        monkeypatch.setenv(name, value)
    check(main([] if row in READ else ["keys", "list"]), said, capsys.readouterr().err)


@pytest.mark.parametrize("row", STARTED)
def test_what_shows_only_when_it_starts_ends_the_start_alike(row: str, tmp_path: Path) -> None:
    settings, said = STARTED[row]
    command = [sys.executable, "-m", "service"]
    variables = environment(tmp_path / "home", **settings)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    check(done.returncode, said, done.stderr)
