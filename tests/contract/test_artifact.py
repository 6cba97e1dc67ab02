"""contract.artifact: a version folder is exactly what its manifest says, or it is refused."""

import os
from pathlib import Path

import pytest

from contract.artifact import MANIFEST, Golden, Manifest, Network, read_manifest, sync_folder, verify, write_manifest
from contract.errors import VersionCorrupt
from contract.recipe import Preprocessing, Recipe
from contract.records import Metrics


def manifest() -> Manifest:
    return Manifest(
        model="default",
        version=3,
        classes=("apple", "orange"),
        image_size=(96, 96),
        preprocessing=Preprocessing.OWN,
        threshold=0.5,
        metrics=Metrics(4, 1.0, 0.1, 1.0, 1.0, 1.0, 2, 0, 2, 0),
        parent=2,
        job_id="j",
        created_at="2026-01-01T00:00:00Z",
        recipe=Recipe(),
        network=Network("Compact", "none", 10, 10),
        history=(),
        training_seconds=1.5,
        seeds={"weights": 1},
        data_digest="00",
        examples={"train/apple": 2},
        packages={"keras": "3"},
        golden=Golden(("golden/00.jpg",), {"tensorflow-f32": (0.25,)}),
        decoder_differences=("WebP",),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "variables.index").write_bytes(b"index")
    return tmp_path


def test_a_written_folder_verifies(folder: Path) -> None:
    digest = write_manifest(folder, manifest())
    sync_folder(folder)
    found = verify(folder, digest)
    assert found.files.keys() == {"saved_model.pb", "variables/variables.index"}
    assert found.golden.probabilities == {"tensorflow-f32": (0.25,)}
    assert found.classes == ("apple", "orange")


def test_a_flipped_byte_is_named(folder: Path) -> None:
    write_manifest(folder, manifest())
    (folder / "saved_model.pb").write_bytes(b"grapH")
    with pytest.raises(VersionCorrupt, match=r"saved_model.pb is altered"):
        verify(folder)


def test_missing_and_added_files_are_named(folder: Path) -> None:
    write_manifest(folder, manifest())
    (folder / "extra").write_bytes(b"")
    with pytest.raises(VersionCorrupt, match="extra is unknown"):
        verify(folder)
    (folder / "extra").unlink()
    (folder / "variables" / "variables.index").unlink()
    with pytest.raises(VersionCorrupt, match=r"variables.index is missing"):
        verify(folder)


def test_another_manifest_is_refused(folder: Path) -> None:
    write_manifest(folder, manifest())
    with pytest.raises(VersionCorrupt, match="not the manifest that was published"):
        verify(folder, "0" * 64)


def test_links_and_pipes_are_refused(folder: Path) -> None:
    write_manifest(folder, manifest())
    (folder / "link").symlink_to(folder / "saved_model.pb")
    with pytest.raises(VersionCorrupt, match="link is neither"):
        verify(folder)
    (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(VersionCorrupt, match="pipe is neither"):
        verify(folder)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"model": 1}'])
def test_a_broken_manifest_is_refused(folder: Path, text: bytes) -> None:
    (folder / MANIFEST).write_bytes(text)
    with pytest.raises(VersionCorrupt, match="cannot be read as a manifest"):
        read_manifest(folder)
