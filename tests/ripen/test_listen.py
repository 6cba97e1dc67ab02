"""Where `ripen up` lets the service listen, what it trusts there, and what a client shows."""

import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from fake_rest_service import FakeRestService, Reply, refusal

from contract.settings import Settings
from ripen import Client
from ripen.connection import REPEATS
from ripen.credentials import trust_only
from ripen.errors import ApiError, CannotStart, InvalidCredentials, ServiceUnreachable
from ripen.listen import Listen

PLAIN = Listen("127.0.0.1", 8501, 8500, None, None, behind_proxy=False, insecure=False)
KEY = "ripen_0b9c5f1d7c6f_secret"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RIPEN_API_KEY", "RIPEN_CA_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("host", "url", "grpc"),
    [
        ("localhost", "http://localhost:8501", "localhost:8500"),
        ("0.0.0.0", "http://127.0.0.1:8501", "127.0.0.1:8500"),
        ("::", "http://[::1]:8501", "[::1]:8500"),
        ("192.0.2.1", "http://192.0.2.1:8501", "192.0.2.1:8500"),
    ],
)
def test_this_machine_reaches_it_at(host: str, url: str, grpc: str) -> None:
    listen = replace(PLAIN, host=host)
    assert (listen.rest_url, listen.grpc_address, listen.trust) == (url, grpc, None)


def test_the_service_reads_the_options_as_settings(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    listen = Listen("::", 1, 2, certificate, key, behind_proxy=True, insecure=False)
    read = Settings.from_environment(listen.settings)
    assert (read.host, read.rest_port, read.grpc_port) == ("::", 1, 2)
    assert (read.tls_cert, read.tls_key, read.behind_proxy, read.insecure) == (certificate, key, True, False)
    assert listen.rest_url == "https://[::1]:1"


def test_a_key_for_itself_is_asked_for_where_the_service_will(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("here")
    PLAIN.check_key(home)
    replace(PLAIN, host="0.0.0.0").check_key(home)  # the service says what is missing
    replace(PLAIN, behind_proxy=True, insecure=True).check_key(home)
    with pytest.raises(
        CannotStart, match=r"export RIPEN_API_KEY=\$\(ripen keys add --home here --client up --role admin"
    ):
        replace(PLAIN, behind_proxy=True).check_key(home)
    monkeypatch.setenv("RIPEN_API_KEY", KEY)
    replace(PLAIN, behind_proxy=True).check_key(home)


def chain(authority: trustme.CA, file: Path) -> Path:
    """A certificate for another name, and its key, in one file."""
    authority.issue_cert("somewhere.example").private_key_and_cert_chain_pem.write_to_path(file)
    return file


def shake_hands(server_file: Path, context: ssl.SSLContext) -> None:
    """Connect to a TLS server that shows a certificate."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(server_file)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server_context.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, context.wrap_socket(ours, server_hostname="127.0.0.1"):
            pass
    finally:
        thread.join()


def test_up_trusts_the_certificate_that_it_was_given_and_no_other(tmp_path: Path) -> None:
    authority = trustme.CA()
    given, other = chain(authority, tmp_path / "given.pem"), chain(authority, tmp_path / "other.pem")
    shake_hands(given, trust_only(given))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(other, trust_only(given))
    (tmp_path / "nothing.pem").write_text("nothing")
    for file in ("nothing.pem", "missing.pem"):
        with pytest.raises(InvalidCredentials, match=file):
            trust_only(tmp_path / file)


def test_the_client_shows_its_key_and_nobody_else_sees_it(
    service: FakeRestService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer("GET /readyz", {"status": "ready"})
    monkeypatch.setenv("RIPEN_API_KEY", KEY + "\n")
    for key in (None, KEY, ""):
        with Client(service.url, api_key=key) as client:
            assert client.ready() is None
            assert KEY not in repr(client.__dict__) + repr(client._connection.__dict__)
    shown = [one.headers.get("authorization") for one in service.requests("GET /readyz")]
    assert shown == [f"Bearer {KEY}", f"Bearer {KEY}", None]
    monkeypatch.setenv("RIPEN_API_KEY", "two words")
    with pytest.raises(InvalidCredentials, match="RIPEN_API_KEY"):
        Client(service.url)


def test_a_refused_key_says_what_to_do(service: FakeRestService) -> None:
    service.answer("GET /api/v1/jobs", refusal(401, "unauthenticated", "Not known."))
    with Client(service.url) as client, pytest.raises(ApiError, match="asks for an API key; set RIPEN_API_KEY"):
        client.jobs()
    with (
        Client(service.url, api_key=KEY) as client,
        pytest.raises(ApiError, match=r"^Not known\. The one in RIPEN_API"),
    ):
        client.jobs()


def test_a_model_that_exists_needs_no_admin(service: FakeRestService) -> None:
    model = {"name": "default", "classes": None, "live_version": None}
    service.answer("GET /api/v1/models/default", refusal(404, "unknown_model"), model)
    service.answer("POST /api/v1/models", Reply(model))
    with Client(service.url) as client:
        for _ in range(2):
            assert client.ensure_model().name == "default"
    assert len(service.requests("POST /api/v1/models")) == 1


def test_a_ca_file_is_trusted_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    for trust in (file, None):
        monkeypatch.setenv("RIPEN_CA_FILE", str(file))
        with Client("https://127.0.0.1:9", trust=trust) as client, pytest.raises(ServiceUnreachable):
            client.predict(b"")
    file.write_text("nothing")
    with pytest.raises(InvalidCredentials, match=r"ca\.pem"):
        Client("https://127.0.0.1:9")


def test_a_certificate_that_is_not_trusted_is_no_missing_service(tmp_path: Path) -> None:
    certificate = chain(trustme.CA(), tmp_path / "service.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve() -> None:
        for _ in range(1 + REPEATS):
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, trust=tmp_path / "other.pem") as client, pytest.raises(ServiceUnreachable) as refused:
            client.jobs()
        thread.join()
    assert "is not trusted" in str(refused.value)
    assert "set RIPEN_CA_FILE" in str(refused.value)
