"""`ripen up` with small programs in place of service and worker."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner
from fake_rest_service import FakeRestService

from contract.settings import Settings
from ripen.__main__ import main
from ripen.command_up import child_environment
from ripen.errors import CannotStart
from ripen.listen import Listen

LOOPBACK = Listen("127.0.0.1", 1, 2, None, None, behind_proxy=False, insecure=False)
TESTS = Path(__file__).parents[1]
SERVICE = """
import os, signal, sys
from fake_rest_service import FakeRestService, serve, version, versions
import fake_rest_service, http.server
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
class OnPort(http.server.ThreadingHTTPServer):
    def __init__(self, address, handler):
        super().__init__(("127.0.0.1", int(os.environ["RIPEN_REST_PORT"])), handler)
fake_rest_service.ThreadingHTTPServer = OnPort
with serve() as service:
    service.answer("GET /readyz", {"status": "ready"})
    model = {"name": "default", "classes": ["apple", "orange"], "live_version": 1}
    service.answer("POST /api/v1/models", model)
    service.answer("GET /api/v1/models/default", model)
    service.answer("GET /api/v1/jobs", {"jobs": []})
    service.answer("GET /api/v1/versions", %(versions)s)
    signal.sigwait([signal.SIGTERM])
    print("drained", flush=True)
"""
READY = SERVICE % {"versions": "versions(version())"}
NEVER_LIVE = SERVICE % {"versions": "versions(version(live=False), aspired=1)"}
WORKER = "import signal; signal.pause()"
UP = """
import sys
import ripen.command_up as command_up
from ripen.__main__ import main
from ripen.supervisor import Program
service, worker = sys.argv[1:3]
command_up.PROGRAMS = (
    Program("service", (sys.executable, "-c", service)), Program("worker", (sys.executable, "-c", worker)))
main(sys.argv[3:], prog_name="ripen")
"""


class Up:
    """`ripen up` as a process."""

    def __init__(self, home: Path, service: str, worker: str, *arguments: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.home = home
        options = ["--rest-port", str(self.port), "--home", str(home), *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", UP, service, worker, "up", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )

    def read_until(self, text: str) -> str:
        assert self.process.stdout
        seen = ""
        for line in self.process.stdout:
            seen += line
            if text in line:
                return seen
        raise AssertionError(f"it ended without {text!r}: {seen} {self.process.stderr and self.process.stderr.read()}")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Up]]:
    running: list[Up] = []
    yield running
    for one in running:
        one.process.kill()
        one.process.communicate()


def test_ready_then_ctrl_c_drains_and_exits_with_0(tmp_path: Path, started: list[Up]) -> None:
    picture = tmp_path / "home" / "sample" / "validation" / "apple" / "apple-000.jpg"
    picture.parent.mkdir(parents=True)
    picture.touch()
    started.append(up := Up(tmp_path / "home", READY, WORKER))
    printed = up.read_until("ripen retrain --wait")
    assert "Ripen is ready: version 1 of model default, right on 95.0% of 40 hold-out images." in printed
    assert f"http://127.0.0.1:{up.port}/docs" in printed
    assert f"--data-binary @{picture} http://127.0.0.1:{up.port}/api/v1/predict" in printed
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0
    assert (up.home / "logs" / "service.log").read_text() == "drained\n"


def test_json_prints_the_addresses(tmp_path: Path, started: list[Up]) -> None:
    started.append(up := Up(tmp_path / "home", READY, WORKER, "--json"))
    assert json.loads(up.read_until("rest"))["rest"] == f"http://127.0.0.1:{up.port}"
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(30) == 0


def test_ctrl_c_before_the_first_version_exits_with_130(tmp_path: Path, started: list[Up]) -> None:
    ready = "print('worker up', flush=True); " + WORKER
    started.append(up := Up(tmp_path / "home", NEVER_LIVE, ready))
    log = up.home / "logs" / "worker.log"
    while not (log.is_file() and "worker up" in log.read_text()):
        assert up.process.poll() is None
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 130


SECURE = READY.replace(
    '        super().__init__(("127.0.0.1", int(os.environ["RIPEN_REST_PORT"])), handler)\n',
    """        super().__init__((\"127.0.0.1\", int(os.environ[\"RIPEN_REST_PORT\"])), handler)
        import ssl
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.environ["RIPEN_TLS_CERT"], os.environ["RIPEN_TLS_KEY"])
        self.socket = context.wrap_socket(self.socket, server_side=True)
""",
).replace('"drained"', '{one.headers.get("authorization") for one in service.received}, "RIPEN_API_KEY" in os.environ')


def test_where_keys_and_tls_are_asked_for_it_shows_its_key_and_trusts_its_certificate(
    tmp_path: Path, started: list[Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = trustme.CA().issue_cert("somewhere.example")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    monkeypatch.setenv("RIPEN_API_KEY", "ripen_0b9c5f1d7c6f_secret")
    files = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    started.append(up := Up(tmp_path / "home", SECURE, WORKER, "--host", "0.0.0.0", *files))
    printed = up.read_until("ripen retrain --wait")
    assert f"https://127.0.0.1:{up.port}/docs" in printed
    assert 'curl -H "Authorization: Bearer $RIPEN_API_KEY" -H' in printed
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0
    assert (up.home / "logs" / "service.log").read_text() == "{'Bearer ripen_0b9c5f1d7c6f_secret'} False\n"


@pytest.mark.parametrize("broken", ["service", "worker"])
def test_a_program_that_cannot_start_is_one_line_and_exit_1(tmp_path: Path, started: list[Up], broken: str) -> None:
    refuse = "import sys; sys.exit('Port 8500 is taken; set RIPEN_GRPC_PORT to another.')"
    programs = (refuse, WORKER) if broken == "service" else (READY, refuse)
    started.append(up := Up(tmp_path / "home", *programs))
    _, printed = up.process.communicate(timeout=30)
    assert up.process.returncode == 1
    assert printed == f"The {broken} cannot run: Port 8500 is taken; set RIPEN_GRPC_PORT to another.\n"


def test_a_taken_port_is_named_before_anything_starts(service: FakeRestService, tmp_path: Path) -> None:
    port = service.url.rsplit(":", 1)[1]
    result = CliRunner().invoke(main, ["up", "--rest-port", port, "--home", str(tmp_path / "home")])
    assert result.exit_code == 1
    assert f"Port {port} is taken" in result.stderr
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, ["up", "--rest-port", "18499", "--home", str(tmp_path / "file" / "home")])
    assert result.exit_code == 1
    assert f"The data folder {tmp_path / 'file' / 'home'} cannot be written" in result.stderr


def test_a_bad_data_folder_starts_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    result = CliRunner().invoke(main, ["up", "--data", str(tmp_path / "nowhere"), "--home", str(home)])
    assert result.exit_code == 2
    assert "is not a folder" in result.stderr
    assert not home.exists()


def test_the_options_become_settings_of_the_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = tmp_path / "w.h5"
    weights.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIPEN_API_KEY", "of the client's alone")
    monkeypatch.setenv("RIPEN_RECIPE", '{"image_size": 64, "backbone": "Compact"}')
    recipe = {"backbone": "MobileNet", "alpha": 0.25, "weights": "w.h5"}
    environment = child_environment(Path("var"), LOOPBACK, recipe)
    assert environment["RIPEN_REST_PORT"] == "1"
    assert environment["RIPEN_HOST"] == "127.0.0.1"
    assert "RIPEN_API_KEY" not in environment
    Settings.from_environment({name: value for name, value in environment.items() if name.startswith("RIPEN_")})
    assert json.loads(environment["RIPEN_RECIPE"]) == {**recipe, "image_size": 64, "weights": str(weights)}
    kept = child_environment(Path("var"), LOOPBACK, {"backbone": None, "alpha": None, "weights": None})
    assert kept["RIPEN_RECIPE"] == os.environ["RIPEN_RECIPE"]
    assert "RIPEN_KEEP_IMAGES_BYTES" not in kept
    assert child_environment(Path("var"), LOOPBACK, {}, no_keep=True)["RIPEN_KEEP_IMAGES_BYTES"] == "0"


def test_a_malformed_recipe_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIPEN_RECIPE", "[1]")
    with pytest.raises(CannotStart, match=r"RIPEN_RECIPE is '\[1\]'; expected a JSON object"):
        child_environment(Path("var"), LOOPBACK, {"backbone": "Compact"})
