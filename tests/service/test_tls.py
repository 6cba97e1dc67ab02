"""TLS on both ports: what is refused at start, what is taken over while it runs."""

import datetime
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from running_service import RunningService, free_ports, picture, running
from service_process import DEADLINE_S, environment

from contract.errors import InvalidSetting
from contract.settings import Settings
from service import rest_server
from service.tls import Certificate

AUTHORITY = trustme.CA()
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


def write(folder: Path, issued: trustme.LeafCert) -> tuple[Path, Path]:
    """The chain and the key as the two files that the service is told of."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def issue(name: str = "localhost") -> trustme.LeafCert:
    return AUTHORITY.issue_cert("127.0.0.1", name)


def settings(folder: Path, **changes: object) -> Settings:
    certificate, key = write(folder, issue("first.example"))
    return free_ports(home=folder, tls_cert=certificate, tls_key=key, **changes)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@contextmanager
def serving(folder: Path, **changes: object) -> Iterator[RunningService]:
    with running(folder, settings(folder, **changes)) as (service, _):
        yield service


def names_of(port: int) -> set[str]:
    """Whom the certificate on a port is for, seen by a client that trusts our authority."""
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as encrypted,
    ):
        told = encrypted.getpeercert()
    assert told is not None
    return {str(name) for _, name in told["subjectAltName"]}


def test_both_ports_speak_tls_and_nothing_else(tmp_path: Path) -> None:
    root = AUTHORITY.cert_pem.bytes()
    with serving(tmp_path) as service:
        rest = f"https://127.0.0.1:{service.ports.rest}"
        assert httpx.post(f"{rest}/api/v1/predict", content=picture(), verify=trusting()).status_code == 200
        with grpc.secure_channel(service.grpc_address, grpc.ssl_channel_credentials(root)) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{service.ports.rest}/healthz")
        with grpc.insecure_channel(service.grpc_address) as channel, pytest.raises(grpc.RpcError) as refused:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("port", ["rest", "grpc"])
def test_old_tls_is_refused(tmp_path: Path, port: str) -> None:
    context = trusting()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        serving(tmp_path) as service,
        socket.create_connection(("127.0.0.1", getattr(service.ports, port)), timeout=20) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(connection, server_hostname="127.0.0.1")


def test_a_new_certificate_is_taken_over_and_a_bad_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path) as service:
        certificate = service.ports.certificate
        assert certificate is not None
        with httpx.Client(base_url=f"https://127.0.0.1:{service.ports.rest}", verify=trusting()) as kept:
            assert kept.get("/healthz").status_code == 200
            write(tmp_path, issue("second.example"))
            certificate.refresh()  # as the service does once a second
            assert names_of(service.ports.rest) == {"127.0.0.1", "second.example"}
            assert names_of(service.ports.grpc) == {"127.0.0.1", "second.example"}
            (tmp_path / "tls.crt").write_bytes(issue("third.example").cert_chain_pems[0].bytes())
            certificate.refresh()
            assert "is not the key of the certificate" in caplog.text
            assert names_of(service.ports.rest) == names_of(service.ports.grpc) == {"127.0.0.1", "second.example"}
            (tmp_path / "tls.key").unlink()
            certificate.refresh()
            assert "cannot be read" in caplog.text
            write(tmp_path, issue("fourth.example"))
            certificate.refresh()
            assert names_of(service.ports.rest) == names_of(service.ports.grpc) == {"127.0.0.1", "fourth.example"}
            assert kept.get("/healthz").status_code == 200  # an open connection stays
            write(tmp_path, AUTHORITY.issue_cert("127.0.0.1", "fifth.example", key_type=trustme.KeyType.RSA))
            certificate.refresh()  # a context would keep the certificate of the other kind of key too, and prefer it
            assert names_of(service.ports.rest) == names_of(service.ports.grpc) == {"127.0.0.1", "fifth.example"}


def test_a_certificate_that_is_not_valid_yet_is_taken_over_once_it_is(tmp_path: Path) -> None:
    certificate, key = write(tmp_path, issue("first.example"))
    kept = Certificate(certificate, key)
    before = kept.context
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    write(tmp_path, AUTHORITY.issue_cert("127.0.0.1", "second.example", not_before=soon))
    kept.refresh()
    assert kept.current is before
    until = time.monotonic() + 30
    while kept.current is before:
        kept.refresh()
        assert time.monotonic() < until


def test_the_service_looks_for_new_certificates_by_itself(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        write(tmp_path, issue("second.example"))
        until = time.monotonic() + 30
        while "second.example" not in names_of(service.ports.rest):
            assert time.monotonic() < until
        assert "second.example" in names_of(service.ports.grpc)


def bad_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Pairs that cannot be used, by what their error must say."""
    good, key = write(folder, issue())
    nothing, text, other, old = (folder / name for name in ("nothing", "text", "other", "old"))
    text.write_text("no PEM")
    other.write_bytes(issue().private_key_pem.bytes())
    expired = AUTHORITY.issue_cert("127.0.0.1", not_before=YESTERDAY, not_after=YESTERDAY)
    old.write_bytes(expired.private_key_and_cert_chain_pem.bytes())
    return {
        r"RIPEN_TLS_CERT is .*nothing, which cannot be read \(No such file or directory\)": (nothing, key),
        r"RIPEN_TLS_KEY is .*nothing, which cannot be read": (good, nothing),
        r"RIPEN_TLS_CERT is .*, which cannot be read \(Is a directory\)": (folder, key),
        r"text and RIPEN_TLS_KEY .* are not a certificate and its key": (text, key),
        r"RIPEN_TLS_KEY .*text are not a certificate and its key": (good, text),
        r"RIPEN_TLS_KEY .*other is not the key of the certificate in RIPEN_TLS_CERT": (good, other),
        r"RIPEN_TLS_CERT .*old holds a certificate that clients refuse \(certificate has expired\)": (old, old),
    }


def test_bad_files_are_one_line_that_names_the_setting(tmp_path: Path) -> None:
    for message, (certificate, key) in bad_files(tmp_path).items():
        with pytest.raises(InvalidSetting, match=message) as refused:
            Certificate(certificate, key)
        assert "\n" not in str(refused.value)


def test_a_bad_file_stops_the_start_with_one_line(tmp_path: Path) -> None:
    certificate, key = write(tmp_path, issue())
    key.unlink()
    variables = environment(tmp_path / "home", RIPEN_TLS_CERT=certificate, RIPEN_TLS_KEY=key)
    command = [sys.executable, "-m", "service"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (78, 1), done.stderr
    assert done.stderr.startswith(f"RIPEN_TLS_KEY is {key}, which cannot be read")


def test_an_encrypted_key_is_not_asked_for(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    issued = issue()
    certificate, key = write(tmp_path, issued)
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key.write_bytes(plain.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(InvalidSetting, match="the key without a password"):
        Certificate(certificate, key)


def test_a_silent_handshake_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_server, "HEAD_S", 0.3)
    with serving(tmp_path) as service, socket.create_connection(("127.0.0.1", service.ports.rest), 20) as silent:
        assert silent.recv(1) == b""
