"""`python -m service` as a real process: a real version, real stops, one clear line where it cannot start."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_version
from service_process import DEADLINE_S, environment, publish, started


def test_it_serves_swaps_and_stops(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = publish(home, 1, bias=-1.0)
    with started(home) as process:
        process.wait_for(process.ready)
        answer = process.client.post("/api/v1/predict", content=tiny_version.picture(1)).json()
        assert answer["model"] == {"name": "default", "version": 1}
        assert answer["predictions"][0]["probability"] == pytest.approx(first, abs=1e-3)
        second = publish(home, 2, bias=1.0)
        process.wait_for(lambda: process.client.get("/api/v1/versions").json()["live"] == 2)
        answer = process.client.post("/api/v1/predict", content=tiny_version.picture(1)).json()
        assert answer["predictions"][0]["probability"] == pytest.approx(second, abs=1e-3)
        assert process.client.post("/api/v1/versions:rollback").status_code == 200
        process.wait_for(lambda: process.client.get("/api/v1/versions").json()["live"] == 1)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(DEADLINE_S) == 0
        assert "Traceback" not in process.log.read_text()


def test_it_stops_when_its_parent_is_gone(tmp_path: Path) -> None:
    with started(tmp_path / "home") as process:
        process.wait_for(process.ready)
        assert process.client.post("/api/v1/predict", content=tiny_version.picture(1)).status_code == 409
        assert process.popen.stdin is not None
        process.popen.stdin.close()
        assert process.popen.wait(DEADLINE_S) == 0


def refused(variables: dict[str, str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "service"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return done.returncode, done.stderr.strip()


def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    status, text = refused(environment(tmp_path, RIPEN_QUEUE_SIZE="many"))
    assert status == 78
    assert text.startswith("RIPEN_QUEUE_SIZE is 'many'; expected")
    assert "\n" not in text


@pytest.mark.parametrize("setting", ["RIPEN_REST_PORT", "RIPEN_GRPC_PORT"])
def test_an_occupied_port_is_one_line(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, text = refused(environment(tmp_path, **{setting: port}))
    assert status == 1
    assert text.startswith(f"Port {port} of 127.0.0.1 is taken")
    assert setting in text
    assert "\n" not in text


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = tmp_path / "file" / "home"
    status, text = refused(environment(home))
    assert status == 1
    assert str(home) in text
    assert "RIPEN_HOME" in text
    assert "\n" not in text
