"""The container's health check, as its own process, against a real server with and without TLS."""

import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme
from installation import free_port


class Healthz(BaseHTTPRequestHandler):
    """Answers /healthz with the server's status, anything else with 404."""

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/healthz" else 404)  # type: ignore[attr-defined]  # ours
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def answering(status: int, certificate: Path | None = None) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Healthz)
    server.status = status  # type: ignore[attr-defined]  # read above
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Names a public name and not loopback, as a real one does."""
    file = tmp_path / "tls.pem"
    trustme.CA().issue_cert("ripen.example").private_key_and_cert_chain_pem.write_to_path(str(file))
    return file


def check(port: int, **settings: object) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RIPEN_")}
    ours = {"RIPEN_REST_PORT": str(port), **{name: str(value) for name, value in settings.items()}}
    command = [sys.executable, "-m", "service.alive"]
    return subprocess.run(command, env={**kept, **ours}, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1)])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_status_of_healthz_decides(status: int, exit_status: int, host: str) -> None:
    with answering(status) as port:
        assert check(port, RIPEN_HOST=host).returncode == exit_status


def test_it_asks_by_tls_where_the_service_speaks_tls(certificate: Path) -> None:
    with answering(200, certificate) as port:
        done = check(port, RIPEN_TLS_CERT=certificate, RIPEN_TLS_KEY=certificate)
    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_listens() -> None:
    done = check(free_port())
    assert done.returncode == 1
    assert "cannot be asked" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_loads_nothing_but_the_standard_library() -> None:
    program = "import sys, service.alive; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {"fastapi", "contract", "msgspec", "grpc", "numpy"} & set(loaded)
