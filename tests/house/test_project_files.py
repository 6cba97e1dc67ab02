"""What is generated is what would be generated now: protocol stubs, the lock, README's commands and tables."""

import filecmp
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from contract.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_protocol_stubs_are_generated_from_the_proto(tmp_path: Path) -> None:
    out = f"{tmp_path}"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={out}", f"--grpc_python_out={out}"]
    subprocess.run([*command, f"--pyi_out={out}", "protos/ripen_v1.proto"], cwd=ROOT, check=True)
    names = [path.name for path in (tmp_path / "protos").iterdir()]
    assert len(names) == 3
    _, different, missing = filecmp.cmpfiles(tmp_path / "protos", ROOT / "protos", names, shallow=False)
    assert (different, missing) == ([], [])


def test_every_dependency_is_locked_with_hashes_and_without_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.split(r"[\[><=!;~ ]", line)[0].lower()
        for line in [*project["dependencies"], *extras["service"], *extras["retrain"], *extras["dev"]]
    }
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    assert wanted <= locked
    assert "://" not in lock
    assert lock.count("--hash=sha256:") >= len(locked)


def test_readme_lists_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `RIPEN_([A-Z_]+)` \| `?([^`|]*)`? \|", README, re.MULTILINE))
    assert set(rows) == {field.name.upper() for field in fields(Settings)}
    environment = {
        f"RIPEN_{name}": value.strip()
        for name, value in rows.items()
        if value.strip() and name not in ("HOME", "DATABASE_URL", "STORAGE_URL")
    }
    assert Settings.from_environment(environment) == Settings.from_environment({})


@pytest.mark.parametrize("line", ["A", "B"])
def test_readme_shows_the_lines_as_files_that_exist(line: str) -> None:
    section = re.search(rf"^### Line {line}:.*?(?=^##|^Documents)", README, re.MULTILINE | re.DOTALL)
    assert section
    named = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", section[0])
    assert len(named) >= 5
    for path in named:
        assert (ROOT / path).is_file(), path


def test_readme_begins_with_the_two_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("run", "test"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_make_targets_in_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)`", README)) <= targets
