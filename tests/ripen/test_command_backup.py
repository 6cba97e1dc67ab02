"""`ripen backup`, `restore` and `doctor` as a user types them, each with its real child process."""

import json
from pathlib import Path

import pytest
import stocked_home
from click.testing import CliRunner, Result
from installation import free_port

from ripen.__main__ import main


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIPEN_REST_PORT", str(free_port()))
    monkeypatch.setenv("RIPEN_GRPC_PORT", str(free_port()))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_a_home_is_backed_up_and_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stocked_home.stock(tmp_path / "home", versions=1)
    monkeypatch.chdir(tmp_path)
    result = run("backup", "b.tar", "--home", "home")  # names are relative to where the user stands
    assert result.exit_code == 0, result.output
    assert "10 images and 1 versions" in result.output
    again = run("backup", "b.tar", "--home", "home", "--json")
    assert again.exit_code == 1
    assert "exists already" in json.loads(again.stdout)["error"]["message"]
    answer = json.loads(run("restore", "b.tar", "--home", "new", "--json").stdout)
    assert (answer["examples"], answer["versions"]) == (10, 1)
    refused = run("restore", "b.tar", "--home", "new")
    assert refused.exit_code == 1
    assert "restore into a new home" in refused.output


def test_a_home_without_anything_is_not_backed_up(tmp_path: Path) -> None:
    result = run("backup", tmp_path / "b.tar", "--home", tmp_path / "home")
    assert result.exit_code == 1
    assert "is not there" in result.output
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "b.tar").exists()


def test_the_doctor_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stocked = stocked_home.stock(tmp_path / "home", versions=1)
    well = run("doctor", "--home", tmp_path / "home")
    assert well.exit_code == 0, well.output
    assert well.output.count("OK  ") == len(well.output.splitlines()) == 12
    gone = stocked.planted.database.list_examples("default")[0]
    stocked.planted.storage.delete(gone.storage_key)
    wrong = run("doctor", "--home", tmp_path / "home")
    assert wrong.exit_code == 1
    assert f"WRONG  images     1 without an object: default/{gone.id}" in wrong.output
    assert "-> Restore them from a backup" in wrong.output
    findings = json.loads(run("doctor", "--home", tmp_path / "home", "--json").stdout)["findings"]
    assert [one["check"] for one in findings if not one["ok"]] == ["images"]
    monkeypatch.setenv("RIPEN_QUEUE_SIZE", "0")
    bad = run("doctor", "--home", tmp_path / "home")
    assert bad.exit_code == 1
    assert "WRONG  settings   RIPEN_QUEUE_SIZE is '0'" in bad.output
