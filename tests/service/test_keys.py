"""API keys and who comes with them: the snapshot, bad ones, strangers' pages, and what a start refuses."""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import serving_fakes
from serving_fakes import KeyDatabase
from starlette.datastructures import Headers

from contract.errors import (
    InvalidRequest,
    InvalidSetting,
    OriginNotAllowed,
    PermissionDenied,
    TooManyAttempts,
    Unauthenticated,
)
from contract.keys import ApiKey, Role
from contract.settings import Settings
from service import callers, exposure, keys
from service.callers import ATTEMPTS, Callers
from service.grpc_gate import _address
from service.keys import Keys, make_key

NOW = datetime.now(UTC)
PUBLIC = {"RIPEN_HOST": "192.0.2.1", "RIPEN_BEHIND_PROXY": "true"}


def new(*roles: Role, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    return make_key("shop", frozenset(roles or Role), created_at=NOW, expires_at=expires_at)


def looked(*stored: ApiKey) -> Keys:
    snapshot = Keys(KeyDatabase(*stored))
    snapshot.look()
    return snapshot


def test_a_key_is_stored_as_its_digest_alone() -> None:
    stored, text = new(Role.PREDICT)
    assert len(text) == len("ripen_") + 12 + 1 + 43
    assert text.startswith(f"ripen_{stored.id}_")
    assert text[19:] not in repr(stored)
    assert new()[1] != new()[1]


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_live_key_is_found(scheme: str) -> None:
    stored, text = new(expires_at=NOW + timedelta(hours=1))
    assert looked(new()[0], stored).check([scheme + text]) == stored


def test_every_other_key_is_refused_alike() -> None:
    stored, text = new()
    other, other_text = new()
    revoked, revoked_text = new()
    expired, expired_text = new(expires_at=NOW - timedelta(seconds=1))
    snapshot = looked(stored, other, replace(revoked, revoked_at=NOW), expired)
    swapped = other_text[:19] + text[19:]
    bad = [swapped, revoked_text, expired_text, new()[1], text[:-1], text + "A", text + "\n", text.upper(), "x", ""]
    heard = set()
    for key in bad:
        with pytest.raises(Unauthenticated) as refused:
            snapshot.check([f"Bearer {key}"])
        heard.add(refused.value.message)
    assert len(heard) == 1
    with pytest.raises(Unauthenticated, match="No API key came"):
        snapshot.check([])
    with pytest.raises(InvalidRequest, match="More than one Authorization"):
        snapshot.check([f"Bearer {text}", f"Bearer {text}"])


def test_the_last_snapshot_counts_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        stored, text = new()
        database = KeyDatabase()
        snapshot = Keys(database)
        monkeypatch.setattr(keys, "LOOK_EVERY_S", 0.001)
        task = asyncio.create_task(snapshot.run())
        database.keys = [stored]
        await serving_fakes.until(snapshot.any_live)
        database.failing = True
        await serving_fakes.until(lambda: "cannot be read" in caplog.text)
        assert snapshot.check([f"Bearer {text}"]) == stored
        database.keys, database.failing = [replace(stored, revoked_at=NOW)], False
        await serving_fakes.until(lambda: not snapshot.any_live())
        with pytest.raises(Unauthenticated):
            snapshot.check([f"Bearer {text}"])
        task.cancel()
        await asyncio.wait([task])

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert caplog.text.count("cannot be read") == 1


def of(asked: Callers, *authorization: str, path: str = "/api/v1/predict", address: str = "192.0.2.7") -> str:
    headers = Headers(raw=[(b"authorization", one.encode()) for one in authorization])
    return asked.of_request("POST", path, headers, address)


def test_a_caller_is_named_by_client_and_key() -> None:
    stored, text = new(Role.PREDICT)
    asked = Callers(Settings.from_environment(PUBLIC), looked(stored))
    assert of(asked, f"Bearer {text}") == f"shop/{stored.id}"
    assert asked.of_call("/ripen.v1.Classifier/Classify", [f"Bearer {text}"]) == f"shop/{stored.id}"
    assert asked.named(lambda: [f"Bearer {text}"]) == f"shop/{stored.id}"
    with pytest.raises(PermissionDenied, match=f"{stored.id} has the roles predict; this needs train"):
        of(asked, f"Bearer {text}", path="/api/v1/retrain")


def test_too_many_bad_keys_of_one_address_are_told_so_and_good_ones_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(callers.time, "monotonic", lambda: clock[0])
    stored, text = new()
    asked = Callers(Settings.from_environment(PUBLIC), looked(stored))
    bad = f"Bearer {new()[1]}"
    for _ in range(ATTEMPTS):
        with pytest.raises(Unauthenticated):
            of(asked, bad)
    with pytest.raises(TooManyAttempts):
        of(asked, bad)
    with pytest.raises(TooManyAttempts):
        asked.of_call("/ripen.v1.Classifier/Classify", [bad], "192.0.2.7")
    with pytest.raises(Unauthenticated):
        of(asked, bad, address="192.0.2.8")
    assert of(asked, f"Bearer {text}")
    clock[0] = 10.0
    with pytest.raises(Unauthenticated):
        of(asked, bad)


@pytest.mark.parametrize(
    ("settings", "host", "origin", "error"),
    [
        ({}, "localhost:8501", None, None),
        ({}, "[::1]:8501", "http://127.0.0.1:3000", None),
        ({}, "127.0.0.1.evil.example", None, InvalidRequest),
        ({}, "127.0.0.1", "https://evil.example", OriginNotAllowed),
        ({}, "127.0.0.1", "null", OriginNotAllowed),
        ({}, "127.0.0.1", "http://[::1", OriginNotAllowed),
        ({"RIPEN_HOST": "192.0.2.1", "RIPEN_INSECURE": "1"}, "any.example", None, None),
        ({"RIPEN_HOST": "192.0.2.1", "RIPEN_INSECURE": "1"}, "any.example:1", "http://Any.example:1", None),
        ({"RIPEN_HOST": "192.0.2.1", "RIPEN_INSECURE": "1"}, "any.example", "http://evil.example", OriginNotAllowed),
        ({"RIPEN_HOST": "192.0.2.1", "RIPEN_INSECURE": "1"}, "", "null", OriginNotAllowed),
    ],
)
def test_where_no_key_is_asked_for_pages_of_other_origins_are_refused(
    settings: dict[str, str], host: str, origin: str | None, error: type[Exception] | None
) -> None:
    asked = Callers(Settings.from_environment(settings), looked())
    headers = Headers({"host": host} | ({} if origin is None else {"origin": origin}))
    if error is None:
        assert asked.of_request("POST", "/api/v1/predict", headers, "") == "local"
    else:
        with pytest.raises(error):
            asked.of_request("POST", "/api/v1/predict", headers, "")


TLS = {"RIPEN_TLS_CERT": "/c.pem", "RIPEN_TLS_KEY": "/k.pem"}


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, None),
        ({"RIPEN_HOST": "::1"}, None),
        ({"RIPEN_BEHIND_PROXY": "true"}, "ripen keys add"),
        ({"RIPEN_HOST": "0.0.0.0"}, "RIPEN_TLS_CERT"),
        ({"RIPEN_HOST": "0.0.0.0", **TLS}, "ripen keys add"),
        ({"RIPEN_HOST": "0.0.0.0", "RIPEN_BEHIND_PROXY": "true"}, "ripen keys add"),
        ({"RIPEN_HOST": "0.0.0.0", "RIPEN_INSECURE": "true"}, None),
    ],
)
def test_an_address_that_others_reach_needs_keys_and_tls(
    settings: dict[str, str], missing: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    read = Settings.from_environment(settings)
    expired = looked(new(expires_at=NOW - timedelta(seconds=1))[0])

    def check(snapshot: Keys) -> None:
        exposure.check_address(read)
        exposure.check_keys(read, snapshot)

    if missing is None:
        check(expired)
    else:
        with pytest.raises(InvalidSetting, match=missing):
            check(expired)
    if missing == "ripen keys add":
        check(looked(new()[0]))
    assert ("RIPEN_INSECURE is on" in caplog.text) == ("RIPEN_INSECURE" in settings)


@pytest.mark.parametrize("peer", ["ipv4:192.0.2.7:50000", "ipv6:%5B2001:db8::7%5D:50000"])
def test_a_grpc_peer_is_the_address_that_rest_sees(peer: str) -> None:
    assert _address(peer) == ("192.0.2.7" if "ipv4" in peer else "2001:db8::7")


MOUNTS = """\
proc /proc proc rw 0 0
/dev/sda1 / ext4 rw 0 0
server:/export /srv nfs4 rw 0 0
/dev/sdb1 /srv/fast xfs rw 0 0
server:/other /my\\040disk cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"RIPEN_HOME": "/var/lib/ripen"}, None),
        ({"RIPEN_HOME": "/srv/ripen"}, "nfs4"),
        ({"RIPEN_HOME": "/srv/fast/ripen"}, None),
        ({"RIPEN_HOME": "/var", "RIPEN_DATABASE_URL": "sqlite:////my disk/ripen.db"}, "cifs"),
        ({"RIPEN_HOME": "/srv/ripen", "RIPEN_DATABASE_URL": "postgresql://srv/ripen"}, None),
    ],
)
def test_sqlite_on_a_network_file_system_is_refused(settings: dict[str, str], kind: str | None) -> None:
    read = Settings.from_environment(settings)
    if kind is None:
        exposure.check_database_place(read, MOUNTS)
    else:
        with pytest.raises(InvalidSetting, match=rf"network file system \({kind}\).*RIPEN_HOME"):
            exposure.check_database_place(read, MOUNTS)


def test_this_machine_tells_what_is_mounted(tmp_path: Path) -> None:
    read = Settings.from_environment({"RIPEN_HOME": str(tmp_path)})
    exposure.check_database_place(read, exposure.MOUNTS.read_text())
