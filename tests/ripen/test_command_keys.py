"""`ripen keys` and `ripen audit` on a home that no service has seen yet: real child processes, one home for all."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ripen.__main__ import main


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """RIPEN_HOME, and nothing else of ours in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RIPEN_")]:
            patch.delenv(name)
        patch.setenv("RIPEN_HOME", str(tmp_path_factory.mktemp("keys") / "home"))
        yield Path(os.environ["RIPEN_HOME"])


def ripen(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_a_key_is_made_shown_once_and_listed(home: Path) -> None:
    added = ripen("keys", "add", "--client", "shop", "--role", "predict", "--role", "label", "--expires-days", "2")
    assert added.exit_code == 0
    key = added.stdout.rstrip("\n")
    assert len(key) == 62
    assert "only this once" in added.stderr
    assert key not in added.stderr
    listed = ripen("keys", "list")
    assert listed.stdout.splitlines()[1].startswith(f"{key[6:18]}  shop    predict label  yes      live")
    assert key[19:] not in listed.stdout
    assert key[19:].encode() not in (home / "ripen.db").read_bytes()


def test_a_key_without_trust_is_listed_as_such(home: Path) -> None:
    added = ripen("keys", "add", "--client", "crowd", "--role", "label", "--untrusted", "--json")
    assert json.loads(added.stdout)["trusted"] is False
    assert "crowd   label          no       live" in ripen("keys", "list").stdout


def test_an_altered_audit_log_shows(home: Path) -> None:
    database = sqlite3.connect(home / "ripen.db")
    database.execute("UPDATE audit_log SET actor = 'nobody' WHERE sequence = 1")
    database.commit()
    database.close()
    altered = ripen("audit", "--json")
    assert altered.exit_code == 1
    assert json.loads(altered.stdout)["broken_at"] == 1
    assert json.loads(altered.stdout)["entries"][0]["action"] == "key_added"


def test_what_cannot_be_done_is_one_line(home: Path) -> None:
    result = ripen("keys", "revoke", "--", "--help")
    assert result.exit_code == 1
    assert result.stderr == "There is no API key '--help'; `ripen keys list` shows those there are.\n"
    assert "'king' is not one of" in ripen("keys", "add", "--client", "shop", "--role", "king").stderr


def test_a_bad_setting_is_wrong_usage(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIPEN_QUEUE_SIZE", "many")
    result = ripen("keys", "list")
    assert result.exit_code == 2
    assert result.stderr.startswith("RIPEN_QUEUE_SIZE is 'many'; expected")
