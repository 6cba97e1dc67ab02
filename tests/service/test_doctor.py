"""The doctor on a home that is well, and on one after each thing that can break: what it says, and that it says so."""

import contextlib
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import stocked_home
from installation import free_port
from stocked_home import StockedHome

from contract.recipe import Recipe
from service.__main__ import main
from service.administration import Place
from service.diagnosis import Wrong
from service.doctor import Finding, doctor, examine
from service.doctor_machine import look_at_disk, look_at_weights

ALL = [
    "settings",
    "home",
    "disk",
    "ports",
    "weights",
    "database",
    "storage",
    "clock",
    "audit log",
    "images",
    "versions",
    "leftovers",
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> StockedHome:
    stocked = stocked_home.stock(tmp_path_factory.mktemp("stocked") / "home")
    stocked.planted.database.close()
    return stocked


@pytest.fixture
def home(original: StockedHome, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    shutil.copytree(original.home, tmp_path / "home")
    return tmp_path / "home"


def place_at(home: Path) -> Place:
    """Its place, on ports that are free."""
    place = stocked_home.place(home)
    return replace(place, settings=replace(place.settings, rest_port=free_port(), grpc_port=free_port()))


def wrong(home: Path, *, deep: bool = False) -> dict[str, Finding]:
    return {one.check: one for one in examine(place_at(home), deep=deep) if not one.ok}


def test_a_well_home(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings = list(examine(place_at(home), deep=True))
    assert [one.check for one in findings] == ALL
    assert [one for one in findings if not one.ok] == []
    by_name = {one.check: one.says for one in findings}
    assert by_name["database"] == "answers; 1 models, 10 images"
    assert by_name["images"] == "10 rows have their objects; each has its sha256"
    assert by_name["versions"] == "2 are as their manifests say"
    assert by_name["leftovers"] == "none"
    assert doctor(place_at(home), []) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(ALL)


def image(home: Path) -> Path:
    return next(path for path in sorted((home / "storage/examples").rglob("*")) if path.is_file())


def change_audit(home: Path) -> None:
    with contextlib.closing(sqlite3.connect(home / "ripen.db")) as database:
        database.execute("update audit_log set actor = 'nobody' where sequence = 1")
        database.commit()


def change_revision(home: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(home / "ripen.db")) as database:
        database.execute("update alembic_version set version_num = ?", (revision,))
        database.commit()


def flip_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def make_future_version(home: Path) -> None:
    with contextlib.closing(sqlite3.connect(home / "ripen.db")) as database:
        database.execute("update versions set created_at = 4e9")
        database.commit()


BREAKS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "an image gone": (lambda home: image(home).unlink(), "images", "1 without an object: default/"),
    "an image shorter": (lambda home: image(home).write_bytes(b"x"), "images", "1 altered: default/"),
    "a version altered": (
        lambda home: flip_byte(home / "storage/models/default/2/golden/00.jpg"),
        "versions",
        r"1 of 2 .*default/2 \(live\): .*golden/00.jpg is altered",
    ),
    "a version gone": (
        lambda home: shutil.rmtree(home / "storage/models/default/1"),
        "versions",
        "1 of 2 .*default/1: Nothing is published",
    ),
    "the audit log altered": (change_audit, "audit log", "Line 1 was altered"),
    "a newer schema": (lambda home: change_revision(home, "9999"), "database", "9999, made by a newer release"),
    "an older schema": (lambda home: change_revision(home, "0001"), "database", "0001, made by an older release"),
    "no database": (lambda home: (home / "ripen.db").unlink(), "database", "no tables yet"),
    "no database file": (lambda home: (home / "ripen.db").write_bytes(b"x" * 9999), "database", "cannot be used"),
    "a clock that went back": (make_future_version, "clock", "but a version was made at 2096"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_found_and_only_that(home: Path, name: str) -> None:
    break_it, check, words = BREAKS[name]
    break_it(home)
    found = wrong(home)
    assert list(found) == [check]
    assert re.search(words, found[check].says)
    assert found[check].advice or check == "database"
    assert doctor(place_at(home), []) == 1


def test_a_flipped_bit_of_an_image_is_found_by_deep_reading(home: Path) -> None:
    flip_byte(image(home))
    assert wrong(home) == {}
    assert list(wrong(home, deep=True)) == ["images"]


def test_leftovers_are_no_fault(home: Path) -> None:
    storage = stocked_home.place(home).storage
    storage.put("examples/default/ab/" + "ab" * 32, b"x" * 2_000_000)
    shutil.copytree(home / "storage/models/default/1", home / "storage/models/default/7")
    (found,) = [one for one in examine(place_at(home), deep=False) if one.check == "leftovers"]
    assert found.ok
    assert found.says.startswith("1 images, 1 version folders (2.")


@contextlib.contextmanager
def somebody(port: int) -> Iterator[None]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield


def test_a_port_that_somebody_else_has_is_found(home: Path) -> None:
    place = place_at(home)
    with somebody(place.settings.grpc_port):
        (found,) = [one for one in examine(place, deep=False) if not one.ok]
    assert found.check == "ports"
    assert f"Port {place.settings.grpc_port} is taken" in found.says


class Left:
    """All that is asked of a storage here."""

    def __init__(self, left: int | None) -> None:
        self._left = left

    def free_bytes(self) -> int | None:
        return self._left


def test_a_full_disk_is_found(home: Path) -> None:
    with pytest.raises(Wrong, match="uploads are refused") as raised:
        look_at_disk(home, Left(0))  # type: ignore[arg-type]  # see there
    assert "RIPEN_KEEP_VERSIONS" in raised.value.advice
    for left in (1, None):  # the reserve is taken off already; a bucket
        assert "may still be written" in look_at_disk(home, Left(left))  # type: ignore[arg-type]  # see there


@pytest.mark.parametrize("command", [["doctor"], ["backup", "b.tar"]])
def test_a_home_that_is_not_there_is_said_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setenv("RIPEN_HOME", str(tmp_path / "typo"))
    assert main(command) == 1
    assert f"{tmp_path}/typo is not there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "typo").mkdir()
    assert main(command) == 1
    assert f"{tmp_path}/typo/ripen.db is not there" in capsys.readouterr().err
    assert list((tmp_path / "typo").iterdir()) == []


def test_weights_are_looked_for_where_keras_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert "downloaded by the first job; without a network Compact" in look_at_weights(Recipe())
    assert "copy the *_no_top* file there" in look_at_weights(Recipe(backbone="VGG16"))
    assert look_at_weights(Recipe(weights="none")) == "the recipe needs none"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5").touch()
    assert look_at_weights(Recipe()) == f"MobileNetV2's are in {tmp_path}/models"
    with pytest.raises(Wrong, match="are not there"):
        look_at_weights(Recipe(weights="/no/such.h5"))
