"""The sample set: seeded, readable by its own folder rules, and not to be told apart by colour."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ripen.sample_set
from ripen.dataset_folder import read_dataset
from ripen.sample_set import draw_jpeg, draw_sample_set, sample_pictures


def test_the_same_seed_draws_the_same_bytes() -> None:
    def digest(seed: int) -> str:
        pictures = list(sample_pictures(seed))
        return hashlib.sha256(b"".join(draw_jpeg(picture) for picture in pictures[:: len(pictures) // 8])).hexdigest()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_no_picture_comes_twice_and_no_name_either() -> None:
    pictures = list(sample_pictures())
    assert len({picture.seed for picture in pictures}) == len({picture.file for picture in pictures}) == len(pictures)


def test_it_is_a_dataset_folder_and_is_drawn_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ripen.sample_set, "TRAIN_PER_CLASS", 3)
    monkeypatch.setattr(ripen.sample_set, "VALIDATION_PER_CLASS", 1)
    seen: list[tuple[int, int]] = []
    assert draw_sample_set(tmp_path, on_drawn=lambda done, total: seen.append((done, total))) == 8
    assert seen[-1] == (8, 8)
    dataset = read_dataset(tmp_path)
    assert dataset.classes == ("apple", "orange")
    assert [file.holdout for file in dataset.files].count(True) == 2
    assert not dataset.skipped
    first = dataset.files[0].path
    first.unlink()
    drawn = {file.path: file.path.stat().st_mtime_ns for file in dataset.files[1:]}
    draw_sample_set(tmp_path)
    assert first.exists()
    assert drawn == {path: path.stat().st_mtime_ns for path in drawn}


def histogram(image: NDArray[np.uint8], *, hsv: bool) -> NDArray[np.float64]:
    """8 x 8 x 8 bins of colour, as shares: (512,)."""
    colours = cv2.cvtColor(image, cv2.COLOR_BGR2HSV) if hsv else image
    counts = cv2.calcHist([colours], [0, 1, 2], None, [8, 8, 8], [0, 180 if hsv else 256, 0, 256, 0, 256])
    return np.asarray(counts, np.float64).ravel() / counts.sum()


def test_colour_alone_tells_fewer_than_80_percent_apart() -> None:
    """A network has to look at form and skin. The small network of ours reaches 0.96 on the same split."""
    pictures = list(sample_pictures())
    with ThreadPoolExecutor(2) as threads:
        encoded = list(threads.map(draw_jpeg, pictures))
    images = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in encoded]
    train = np.array([picture.file.parts[0] == "train" for picture in pictures])
    orange = np.array([picture.fruit == "orange" for picture in pictures])
    for hsv in (False, True):
        shares = np.array([histogram(image, hsv=hsv) for image in images])
        for features in (shares, np.sqrt(shares)):
            for regularization in (0.01, 1.0):
                judge = make_pipeline(StandardScaler(), LogisticRegression(C=regularization, max_iter=2000))
                judge.fit(features[train], orange[train])
                assert judge.score(features[~train], orange[~train]) < 0.80
