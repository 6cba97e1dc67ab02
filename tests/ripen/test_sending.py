"""Many files in several requests: how they are cut, and that every refusal is named."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fake_rest_service import FakeRestService, Received, Reply, refusal

from ripen.client import Client
from ripen.dataset_folder import LabelledFile, read_dataset
from ripen.errors import ApiError, InvalidFolder
from ripen.sending import FILES_PER_REQUEST, add_files, import_dataset, predict_files

MODEL = {"name": "default", "classes": None, "live_version": None}


def names_in(request: Received) -> list[str]:
    return re.findall(r'filename="([^"]+)"', request.body.decode(errors="replace"))


def store(request: Received) -> Reply:
    """Take every file but those named bad*, as the service does; known* are there already."""
    names = names_in(request)
    bad = {"code": "invalid_image", "message": "truncated"}
    kept = [name for name in names if not name.startswith("bad")]
    if not kept:
        return refusal(422, "invalid_image", "truncated")
    stored = [
        {
            "id": name,
            "file": name,
            "label": "a",
            "bucket": "train",
            "digest": name,
            "duplicate": name.startswith("known"),
        }
        for name in kept
    ]
    rejected = [{"file": name, "error": bad} for name in names if name not in kept]
    return Reply({"examples": stored, "rejected": rejected}, 201)


def labelled(folder: Path, *names: str, label: str = "a", holdout: bool = False) -> list[LabelledFile]:
    for name in names:
        (folder / name).write_bytes(b"x")
    return [LabelledFile(folder / name, label, holdout) for name in names]


def test_files_of_one_request_share_label_and_bucket_and_are_few(service: FakeRestService, tmp_path: Path) -> None:
    service.answer_with("POST /api/v1/examples", store)
    files = labelled(tmp_path, *(f"{number:02d}.jpg" for number in range(FILES_PER_REQUEST + 1)))
    files += labelled(tmp_path, "h1.jpg", "h2.jpg", holdout=True) + labelled(tmp_path, "b.jpg", label="b")
    seen: list[tuple[int, int]] = []
    result = add_files(Client(service.url), files, lambda done, total: seen.append((done, total)))
    assert (result.added, result.rejected) == (FILES_PER_REQUEST + 4, ())
    assert sorted(request.files for request in service.received) == [1, 1, 2, FILES_PER_REQUEST]
    assert sum(b"holdout" in request.body for request in service.received) == 1
    assert seen[-1] == (len(files), len(files))


def test_files_of_one_request_share_their_group(service: FakeRestService, tmp_path: Path) -> None:
    service.answer_with("POST /api/v1/examples", store)
    files = labelled(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    files = [replace(file, group=group) for file, group in zip(files, ("left", "left", "right"), strict=True)]
    add_files(Client(service.url), files)
    assert sorted(request.files for request in service.received) == [1, 2]
    assert {request.files: b"left" in request.body for request in service.received} == {2: True, 1: False}


def test_refused_files_are_named_with_their_path_and_the_others_stored(
    service: FakeRestService, tmp_path: Path
) -> None:
    service.answer_with("POST /api/v1/examples", store)
    files = labelled(tmp_path, "known.jpg", "bad1.jpg", "new.jpg")
    files += labelled(tmp_path, "bad2.jpg", "bad3.jpg", label="b")  # refused as a whole, then one by one
    result = add_files(Client(service.url), files)
    assert (result.added, result.duplicates) == (1, 1)
    assert sorted(one.file or "" for one in result.rejected) == [str(tmp_path / f"bad{n}.jpg") for n in (1, 2, 3)]
    assert {one.error.code for one in result.rejected} == {"invalid_image"}


def test_an_error_that_is_not_about_the_file_ends_it(service: FakeRestService, tmp_path: Path) -> None:
    service.answer("POST /api/v1/examples", refusal(422, "unknown_label", "'c' is not a class"))
    with pytest.raises(ApiError, match="not a class"):
        add_files(Client(service.url), labelled(tmp_path, "1.jpg", "2.jpg"))
    assert len(service.received) == 1


def test_predictions_come_in_order_with_their_errors(service: FakeRestService, tmp_path: Path) -> None:
    def predict(request: Received) -> Reply:
        names = names_in(request)
        if all(name.startswith("bad") for name in names):
            return refusal(422, "invalid_image", "truncated")
        answers = [{"file": n, "label": "a", "probability": 0.1, "threshold": 0.5} for n in names]
        return Reply({"request_id": "r", "model": {"name": "default", "version": 2}, "predictions": answers})

    service.answer_with("POST /api/v1/predict", predict)
    paths = [file.path for file in labelled(tmp_path, *(f"{n:02d}.jpg" for n in range(FILES_PER_REQUEST)), "bad.jpg")]
    results = predict_files(Client(service.url), paths)
    assert [one.file for one in results] == [str(path) for path in paths]
    assert results[0].version == 2
    assert results[-1].error
    assert results[-1].probability is None


def test_import_declares_the_classes_of_a_new_model(service: FakeRestService, tmp_path: Path) -> None:
    service.answer("POST /api/v1/models", MODEL, {**MODEL, "classes": ["a", "b"]})
    service.answer_with("POST /api/v1/examples", store)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        labelled(tmp_path / label, "1.jpg", "2.jpg", ".hidden")
    result = import_dataset(Client(service.url), read_dataset(tmp_path), lambda *_: None)
    assert (result.added, result.skipped) == (4, 2)
    assert b'"classes":["a","b"]' in service.requests("POST /api/v1/models")[1].body


def test_import_sends_no_image_to_a_model_of_other_classes(service: FakeRestService, tmp_path: Path) -> None:
    service.answer("POST /api/v1/models", {**MODEL, "classes": ["cat", "dog"]})
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        labelled(tmp_path / label, "1.jpg", "2.jpg")
    with pytest.raises(InvalidFolder, match="never change"):
        import_dataset(Client(service.url), read_dataset(tmp_path), lambda *_: None)
    assert not service.requests("POST /api/v1/examples")
