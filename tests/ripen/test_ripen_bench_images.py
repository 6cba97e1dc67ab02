"""The images that `ripen bench` sends."""

import io
from pathlib import Path

import pytest
from PIL import Image

from ripen import bench_images
from ripen.bench_images import DRAWN, draw_images, read_images


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind)
    return stream.getvalue()


def test_images_are_known_by_their_bytes_whatever_their_names(tmp_path: Path) -> None:
    for name, kind in (("a.bin", "JPEG"), ("b.jpg", "PNG"), ("c", "WEBP"), ("d.gif", "GIF"), (".hidden.jpg", "JPEG")):
        (tmp_path / name).write_bytes(encoded(kind))
    (tmp_path / "empty.jpg").touch()
    found = read_images(tmp_path)
    assert found.images == (encoded("JPEG"), encoded("PNG"), encoded("WEBP"))
    assert found.skipped == (tmp_path / "d.gif", tmp_path / "empty.jpg")


def test_of_a_large_folder_some_are_taken_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_images, "MOST", 4)
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(encoded("JPEG") + bytes([number]))
    assert [image[-1] for image in read_images(tmp_path).images] == [0, 3, 6, 9]


def test_drawn_images_are_jpegs_and_differ() -> None:
    images = draw_images()
    assert len(set(images)) == DRAWN
    assert all(image.startswith(b"\xff\xd8\xff") for image in images)
