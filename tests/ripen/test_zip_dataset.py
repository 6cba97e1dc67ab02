"""A zip of labelled images from the command's side: its classes, and how it is sent to a real service."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from running_service import picture, running
from zip_maker import good_zip

from ripen.__main__ import main
from ripen.client import Client
from ripen.errors import ApiError, InvalidFolder
from ripen.sending import import_zip
from ripen.zip_dataset import read_zip_classes


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    path = folder / "fruit.zip"
    path.write_bytes(good_zip(files))
    return path


@pytest.mark.parametrize(
    "names",
    [
        ["pear/1.png", "plum/2.JPG"],
        ["train/pear/1.png", "train/plum/2.png", "validation/pear/3.png", "test/plum/4.png"],
        ["fruit/train/plum/1.png", "fruit/train/pear/x/2.png", "fruit/notes.txt"],
        ["fruit/plum/1.png", "fruit/pear/2.png"],
        ["pear/1.png", "plum/2.webp", "notes/readme.txt", ".git/x/1.png", "__MACOSX/pear/._1.png", "pear/.DS_Store"],
    ],
)
def test_class_folders_are_found_as_in_a_folder(tmp_path: Path, names: list[str]) -> None:
    assert read_zip_classes(written(tmp_path, dict.fromkeys(names, b"x"))) == ("pear", "plum")


@pytest.mark.parametrize("names", [[], ["pear/1.png"], ["a/1.png", "b/1.png", "c/1.png"], ["1.png", "2.png"]])
def test_anything_but_two_is_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(InvalidFolder, match="expected exactly two"):
        read_zip_classes(written(tmp_path, dict.fromkeys(names, b"x")))


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"hello")
    with pytest.raises(InvalidFolder, match="not a zip file"):
        read_zip_classes(tmp_path / "x.zip")


def test_a_zip_is_sent_with_its_progress(tmp_path: Path) -> None:
    files = {f"pear/{value}.png": picture(value, side=200, form="JPEG") for value in range(100)}
    path = written(tmp_path, {**files, "plum/1.png": picture(200), "plum/2.png": b"no image", "notes.txt": b"x"})
    seen: list[tuple[int, int]] = []
    with running(tmp_path) as (service, _), Client(service.rest_url, "fruit") as client:
        result = import_zip(client, path, lambda done, total: seen.append((done, total)))
        assert client.get_model().classes == ("pear", "plum")
        assert (result.added, result.duplicates, result.skipped) == (101, 0, 1)
        assert [(one.file, one.error.code) for one in result.rejected] == [("plum/2.png", "invalid_image")]
        size = path.stat().st_size
        assert seen[-1] == (size, size)
        assert import_zip(client, path, lambda *_: None).duplicates == 101
        with pytest.raises(ApiError) as caught:
            client.import_archive(path)
        assert caught.value.code == "invalid_image"


def test_the_command_takes_a_zip(tmp_path: Path) -> None:
    path = written(tmp_path, {"apple/1.png": picture(1), "orange/2.png": picture(2)})
    with running(tmp_path) as (service, _):
        result = CliRunner().invoke(main, ["import", f"{path}", "--url", service.rest_url, "--json"])
        assert result.exit_code == 0, result.output
        assert json.load(io.StringIO(result.stdout))["added"] == 2
        path.write_bytes(b"hello")
        result = CliRunner().invoke(main, ["import", f"{path}", "--url", service.rest_url])
        assert result.exit_code == 1
        assert "not a zip file" in result.stderr
