"""Which folders can be imported, and what is said of those that cannot."""

from pathlib import Path

import pytest

from ripen.dataset_folder import check_classes, read_dataset
from ripen.errors import InvalidFolder


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


TRAIN = ("train/cat/1.jpg", "train/cat/2.JPEG", "train/dog/1.png", "train/dog/deep/2.webp")


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "test"])
def test_train_and_validation(tmp_path: Path, validation: str) -> None:
    dataset = read_dataset(fill(tmp_path, *TRAIN, f"{validation}/dog/3.jpg"))
    assert dataset.classes == ("cat", "dog")
    assert [(file.path.name, file.label, file.holdout) for file in dataset.files] == [
        ("1.jpg", "cat", False),
        ("2.JPEG", "cat", False),
        ("1.png", "dog", False),
        ("2.webp", "dog", False),
        ("3.jpg", "dog", True),
    ]


def test_class_folders_alone_are_all_training(tmp_path: Path) -> None:
    dataset = read_dataset(fill(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "readme.txt", ".git/x/y.jpg"))
    assert dataset.classes == ("a", "b")
    assert not any(file.holdout for file in dataset.files)


def test_hidden_files_and_other_kinds_are_counted_not_sent(tmp_path: Path) -> None:
    dataset = read_dataset(fill(tmp_path, *TRAIN, "train/cat/.DS_Store", "train/cat/.x/1.jpg", "train/dog/notes.txt"))
    assert len(dataset.files) == 4
    assert sorted(path.name for path in dataset.skipped) == [".DS_Store", "1.jpg", "notes.txt"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((*TRAIN, "train/bird/1.jpg"), r"3 class folders \(bird, cat, dog\); expected exactly two"),
        (("train/cat/1.jpg",), "1 class folders"),
        ((), "0 class folders; expected"),
        (("train/cat/1.jpg", "train/cat/2.jpg", "train/dog/x.txt"), "dog holds 0 images"),
        (("train/cat/1.jpg", "train/cat/2.jpg", "train/dog/1.jpg"), "dog holds 1 image .*at least 2"),
        ((*TRAIN, "val/bird/1.jpg"), "bird is not a class of .*'cat' and 'dog'"),
        (("validation/cat/1.jpg", "validation/dog/1.jpg"), "has validation/ but no train/"),
        (tuple(f"c{number}/1.jpg" for number in range(9)), r"9 class folders \(c0, c1, c2, c3, \.\.\.\)"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidFolder, match=said):
        read_dataset(fill(tmp_path, *names))


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidFolder, match="nowhere is not a folder"):
        read_dataset(tmp_path / "nowhere")


def test_the_models_own_classes_in_any_order(tmp_path: Path) -> None:
    dataset = read_dataset(fill(tmp_path, *TRAIN))
    check_classes(dataset, ("dog", "cat"))
    with pytest.raises(InvalidFolder, match="'cat' and 'dog', but the model's are 'apple' and 'orange'"):
        check_classes(dataset, ("apple", "orange"))
