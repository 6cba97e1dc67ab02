"""`python -m service keys` and `audit`, in this process: what they take, store and print."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from backends.database import SqlDatabase
from contract.errors import InvalidRequest, TooManyKeys, UnknownKey
from contract.keys import Role
from contract.ports import Storage
from contract.settings import Settings
from service.administration import Place
from service.key_commands import audit, keys
from service.keys import Keys


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A home that nobody has used yet."""
    settings = Settings.from_environment({"RIPEN_HOME": str(tmp_path / "home")})
    database = SqlDatabase(settings.database_url)
    yield Place(settings, database, cast(Storage, None))
    database.close()


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_new_key_opens_what_its_roles_do_until_it_expires(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys(place, ["add", "--client", "shop", "--role", "label", "--role", "predict", "--expires-days", "30"]) == 0
    (line,) = printed(capsys)
    snapshot = Keys(place.database)
    snapshot.look()
    found = snapshot.check([f"Bearer {line['key']}"])
    assert found.roles == {Role.LABEL, Role.PREDICT}
    assert found.expires_at is not None
    assert 29 <= (found.expires_at - datetime.now(UTC)).days <= 30
    assert line["roles"] == ["predict", "label"]


def test_a_key_may_be_made_without_trust(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    keys(place, ["add", "--client", "shop", "--role", "label"])
    keys(place, ["add", "--client", "crowd", "--role", "label", "--untrusted"])
    lines = printed(capsys)
    assert [line["trusted"] for line in lines] == [True, False]
    snapshot = Keys(place.database)
    snapshot.look()
    assert [snapshot.trusted(str(line["id"])) for line in lines] == [True, False]
    assert not snapshot.trusted("000000000000")
    assert place.database.list_audit(limit=1)[0].detail == "client crowd, roles label, not trusted"


def test_keys_are_listed_without_what_is_secret_and_revoked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        keys(place, ["add", "--client", "shop", "--role", "admin"])
    second = printed(capsys)[1]
    with pytest.raises(TooManyKeys):
        keys(place, ["add", "--client", "shop", "--role", "admin"])
    keys(place, ["revoke", str(second["id"])])
    keys(place, ["list"])
    revoked, *listed = printed(capsys)
    assert (revoked["live"], revoked["key"]) == (False, None)
    assert [line["live"] for line in listed] == [False, True]
    assert not [line for line in listed if line["key"] or "digest" in line]
    assert keys(place, ["add", "--client", "shop", "--role", "admin"]) == 0
    capsys.readouterr()
    assert audit(place, ["--limit", "2"]) == 0
    (answer,) = printed(capsys)
    assert [(entry["sequence"], entry["action"]) for entry in answer["entries"]] == [
        (4, "key_added"),
        (3, "key_revoked"),
    ]
    assert answer["broken_at"] is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("add", "--client", "No Name", "--role", "predict"), InvalidRequest),
        (("add", "--client", "shop", "--role", "predict", "--expires-days", "0"), InvalidRequest),
        (("revoke", "nothing"), UnknownKey),
    ],
)
def test_what_cannot_be_done_changes_nothing(place: Place, arguments: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        keys(place, arguments)
    assert place.database.list_keys() == []
