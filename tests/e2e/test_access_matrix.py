"""Every route and method x every key, with the exact answer, generated from the table of roles; keys are in no log.

The protocols are the real ones on real sockets; only what answers behind them is small.
"""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import api_keys
import grpc
import httpx
import pytest
from running_service import RunningService, free_ports, picture
from service_process import Process, started

from backends.database import SqlDatabase
from contract.keys import Role
from contract.settings import Settings
from service.roles import GRPC, OPEN, REST

PLACES = {"number": "7", "version": "7", "model": "default", "path": "swagger-ui.css", "rest": "nothing"}
GOOD_ENOUGH = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("matrix")
    service = RunningService(folder, free_ports(home=folder, behind_proxy=True))
    service.core.callers.most_attempts = 10**6  # all of them come from one address
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def keys(service: RunningService) -> dict[str, str | None]:
    """By name: the value of the Authorization header; a role's name is a key with that role alone."""
    made = {role.value: f"Bearer {api_keys.add(service.database, role.value, role)}" for role in Role}
    bad = api_keys.bad_keys(service.database)
    service.keys.look()
    return {"none": None, **bad, **made}


def concrete(path: str) -> str:
    """A path of the route that names nothing that could be lost."""
    return re.sub(r"{(\w+)(:path)?}", lambda match: PLACES.get(match[1], "nobody"), path)


def expected(name: str, roles: frozenset[Role] | None) -> int:
    """401, 403, or 0 for let in."""
    if roles is OPEN:
        return 0
    if name not in set(Role):
        return 401
    return 0 if Role(name) in roles else 403


def test_rest(service: RunningService, keys: dict[str, str | None]) -> None:
    wrong = []
    with httpx.Client(base_url=service.rest_url, timeout=30) as client:
        for (method, path), roles in REST.items():
            for name, key in keys.items():
                headers = {} if key is None else {"Authorization": key}
                answer = client.request(method, concrete(path), headers=headers)
                status, refused = answer.status_code, answer.status_code in (401, 403)
                asked = answer.headers.get("www-authenticate") == "Bearer"
                if (status if refused else 0) != expected(name, roles) or status >= 500 or asked != (status == 401):
                    wrong.append((method, path, name, status))
    assert not wrong
    print(f"{len(REST) * len(keys)} requests over REST.")


def grpc_status(channel: grpc.Channel, method: str, key: str | None) -> str:
    """The status of a call with one empty message; of a stream without end, that of its beginning."""
    metadata = () if key is None else (("authorization", key),)
    call = channel.stream_stream(method)(iter([b""]), metadata=metadata, timeout=30)
    try:
        for _ in call:
            if method.endswith("/Watch"):
                call.cancel()
                return "OK"
    except grpc.RpcError:
        pass
    return str(call.code().name)


def test_grpc(service: RunningService, keys: dict[str, str | None]) -> None:
    names = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
    wrong = []
    with grpc.insecure_channel(service.grpc_address) as channel:
        for method, roles in GRPC.items():
            for name, key in keys.items():
                status = grpc_status(channel, method, key)
                wanted = expected(name, roles)
                if status != names.get(wanted, status) or (not wanted and status not in GOOD_ENOUGH):
                    wrong.append((method, name, status))
    assert not wrong
    print(f"{len(GRPC) * len(keys)} calls over gRPC.")


@pytest.mark.parametrize("path", ["/", "/api/v1/nothing", "/healthz/", "/docs/more"])
def test_what_does_not_exist_is_not_told_to_strangers(
    service: RunningService, keys: dict[str, str | None], path: str
) -> None:
    assert httpx.get(f"{service.rest_url}{path}").status_code == 401
    for role in Role:
        answer = httpx.get(f"{service.rest_url}{path}", headers={"Authorization": str(keys[role])})
        assert answer.status_code == 404
    with grpc.insecure_channel(service.grpc_address) as channel:
        assert grpc_status(channel, "/nobody.Nothing/Do", None) == "UNAUTHENTICATED"
        assert grpc_status(channel, "/nobody.Nothing/Do", keys["predict"]) == "UNIMPLEMENTED"


def test_two_keys_at_once_are_one_too_many(service: RunningService, keys: dict[str, str | None]) -> None:
    key = str(keys["predict"])
    twice = [("Authorization", key), ("Authorization", key)]
    answer = httpx.post(f"{service.rest_url}/api/v1/predict", headers=twice, content=picture())
    assert answer.status_code == 400
    metadata = (("authorization", key), ("authorization", key))
    with grpc.insecure_channel(service.grpc_address) as channel:
        call = channel.unary_unary("/ripen.v1.Classifier/Classify").future(b"", metadata=metadata, timeout=30)
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_key_elsewhere_is_not_looked_at(service: RunningService, keys: dict[str, str | None]) -> None:
    key = str(keys["predict"]).split()[1]
    url = f"{service.rest_url}/api/v1/predict"
    for arguments in ({"params": {"api_key": key, "access_token": key}}, {"cookies": {"Authorization": key}}):
        with httpx.Client(cookies=arguments.get("cookies")) as client:
            answer = client.post(url, params=arguments.get("params"), content=picture())
        assert answer.status_code == 401


def test_strangers_are_refused_before_their_body_is_read(service: RunningService) -> None:
    with socket.create_connection(("127.0.0.1", service.ports.rest), timeout=30) as connection:
        connection.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 401"
    never = service.predictor.waiting  # an event that nobody sets here
    never.clear()
    with grpc.insecure_channel(service.grpc_address) as channel:
        call = channel.stream_unary("/ripen.v1.Classifier/Classify").future(
            (b"" for _ in iter(lambda: never.wait(60), None)), timeout=30
        )
        assert call.code() is grpc.StatusCode.UNAUTHENTICATED
        never.set()


def send_with_a_stray_byte(process: Process, key: str) -> None:
    """A gRPC call whose metadata is not UTF-8, which grpc itself writes to the log; returns once it was answered."""

    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def field(name: bytes, value: bytes) -> bytes:
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    head = b"\x83\x86" + field(b":path", b"/ripen.v1.Classifier/Classify") + field(b":authority", b"localhost")
    head += field(b"content-type", b"application/grpc") + field(b"te", b"trailers")
    head += field(b"authorization", b"Bearer " + key.encode() + b"\xff")
    host, _, port = process.grpc_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(4, 1, 0) + frame(1, 4, 1, head))
        answered = b""
        while b"grpc-status" not in answered:
            piece = connection.recv(4096)
            assert piece, answered
            answered += piece


def test_keys_come_and_go_while_it_runs_and_are_in_no_log(tmp_path: Path) -> None:
    home = tmp_path / "home"
    database = SqlDatabase(Settings.from_environment({"RIPEN_HOME": str(home)}).database_url)
    database.migrate()
    first = api_keys.add(database, "shop", Role.PREDICT)
    wrong = first[:-1] + ("A" if first[-1] != "A" else "B")

    def status(process: Process, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return process.client.post("/api/v1/predict", content=picture(), headers=headers).status_code

    with started(home, RIPEN_BEHIND_PROXY="true") as process:
        process.wait_for(process.ready)
        assert status(process, first) == 409  # no version yet: let in
        assert status(process, wrong) == 401
        assert process.client.post(f"/api/v1/predict?key={first}", content=b"").status_code == 401
        with grpc.insecure_channel(process.grpc_address) as channel:
            assert grpc_status(channel, "/ripen.v1.Classifier/Classify", f"Bearer {first}") in GOOD_ENOUGH
            assert grpc_status(channel, "/ripen.v1.Learning/RollBack", f"Bearer {first}") == "PERMISSION_DENIED"
        send_with_a_stray_byte(process, first)
        admin = api_keys.add(database, "shop", Role.ADMIN)
        began = time.monotonic()
        process.wait_for(lambda: status(process, admin) == 403)
        found_s = time.monotonic() - began
        database.revoke_key(first.split("_")[1])
        began = time.monotonic()
        process.wait_for(lambda: status(process, first) in (401, 429))  # asked too often, it hears that
        refused_s = time.monotonic() - began
        print(f"A new key was found within {found_s:.1f} s, a revoked one refused within {refused_s:.1f} s.")
        audit = process.client.get("/api/v1/audit", headers={"Authorization": f"Bearer {admin}"}).json()["entries"]
        assert [entry["action"] for entry in audit] == ["key_revoked", "key_added", "model_created", "key_added"]
        process.popen.terminate()
        assert process.popen.wait(60) == 0
        database.close()
        written = [process.log, *(path for path in home.rglob("*") if path.is_file())]
    assert len(written) >= 2
    for key in (first, wrong, admin):
        secret = key.split("_", 2)[2].encode()
        assert not [path for path in written if secret in path.read_bytes()]
