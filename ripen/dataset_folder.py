"""A folder of labelled images, read and checked before anything is sent. What feeds LINE B step 1.

Either `train/<class>/` with an optional `validation/<class>/` (also `val`, `valid`, `test`), or `<class>/` directly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from ripen.errors import InvalidFolder

TRAIN = "train"
VALIDATION = ("validation", "val", "valid", "test")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
NAMED = 4
FEWEST = 2  # images per class; what the service asks for at least


@dataclass(frozen=True)
class LabelledFile:
    """One image to send; `holdout` says that its user keeps it for judging, `group` what it stays together with."""

    path: Path
    label: str
    holdout: bool
    group: str | None = None


@dataclass(frozen=True)
class DatasetFolder:
    """What a folder holds. `classes` is sorted by name; `skipped` are files that are hidden or no images by name."""

    folder: Path
    classes: tuple[str, str]
    files: tuple[LabelledFile, ...]
    skipped: tuple[Path, ...]


def read_dataset(folder: Path) -> DatasetFolder:
    """List a dataset folder and check that a classifier can be trained on it.

    Args:
        folder: with `train/<class>/`, or with `<class>/` directly.

    Raises:
        InvalidFolder: not exactly two classes, or too few images; says which.
    """
    train = _train_folder(folder)
    found = _two_classes(train)
    validations = [folder / name for name in VALIDATION if train != folder and (folder / name).is_dir()]
    for validation in validations:
        for label in (path.name for path in _subfolders(validation)):
            if label not in found:
                raise InvalidFolder(f"{validation / label} is not a class of {train}; expected {_either(found)}.")
    files: list[LabelledFile] = []
    skipped: list[Path] = []
    for part in (train, *validations):
        for label in found:
            for path in _files(part / label):
                if _is_image(path, part / label):
                    files.append(LabelledFile(path, label, holdout=part != train))
                else:
                    skipped.append(path)
    _check_enough(train, found, files)
    return DatasetFolder(folder, found, tuple(files), tuple(skipped))


def check_classes(dataset: DatasetFolder, classes: Sequence[str]) -> None:
    """Check a dataset folder against the classes that a model has already.

    Raises:
        InvalidFolder: they are others.
    """
    if {normalize("NFC", name) for name in classes} != {normalize("NFC", name) for name in dataset.classes}:  # macOS
        raise InvalidFolder(
            f"{dataset.folder} has the classes {_either(dataset.classes)}, but the model's are {_either(classes)} and "
            "never change; rename the folders or import into another model with --model NAME."
        )


def _train_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise InvalidFolder(f"{folder} is not a folder; expected one with {TRAIN}/<class>/ inside.")
    if (folder / TRAIN).is_dir():
        return folder / TRAIN
    split = [path.name for path in _subfolders(folder) if path.name in VALIDATION]
    if split:
        raise InvalidFolder(f"{folder} has {split[0]}/ but no {TRAIN}/; put the images to learn from into {TRAIN}/.")
    return folder


def _two_classes(train: Path) -> tuple[str, str]:
    found = [path.name for path in _subfolders(train)]
    if len(found) != 2:
        named = f" ({', '.join([*found[:NAMED], *['...'][: max(0, len(found) - NAMED)]])})" if found else ""
        raise InvalidFolder(
            f"{train} has {len(found)} class folders{named}; expected exactly two, one per class, "
            "with the images inside."
        )
    return found[0], found[1]


def _check_enough(train: Path, classes: Sequence[str], files: Sequence[LabelledFile]) -> None:
    for label in classes:
        count = sum(file.label == label and not file.holdout for file in files)
        if count < FEWEST:
            raise InvalidFolder(
                f"{train / label} holds {count} image{'s' * (count != 1)} (JPEG, PNG or WebP by name); "
                f"at least {FEWEST} are needed."
            )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _is_image(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES


def _either(classes: Sequence[str]) -> str:
    return " and ".join(repr(label) for label in classes)
