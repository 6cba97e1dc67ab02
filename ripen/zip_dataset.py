"""A zip of labelled images, looked into before it is sent. What feeds LINE B step 1.

The service checks all of it; here only the two classes are found, for a model that has none yet.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from ripen.dataset_folder import IMAGE_SUFFIXES, TRAIN, VALIDATION
from ripen.errors import InvalidFolder

SUFFIX = ".zip"
JUNK = "__MACOSX"
NAMED = 4


def is_zip(path: Path) -> bool:
    """Whether a path names a zip file rather than a folder."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def read_zip_classes(path: Path) -> tuple[str, str]:
    """The names of the two class folders of a zip file, sorted.

    Raises:
        InvalidFolder: it is no zip file, or has not exactly two.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            images = [parts for name in archive.namelist() if _is_image(parts := name.split("/"))]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise InvalidFolder(f"{path} is not a zip file that can be read ({error}).") from error
    found = sorted({label for parts in images if (label := _class_of(_unwrapped(parts, images))) is not None})
    if len(found) != 2:
        named = ", ".join([*found[:NAMED], *(["..."] if len(found) > NAMED else [])])
        raise InvalidFolder(
            f"{path} has {len(found)} class folders ({named}); expected exactly two, one per class, with the images "
            f"inside, or {TRAIN}/ with them."
        )
    return found[0], found[1]


def _is_image(parts: Sequence[str]) -> bool:
    hidden = any(part.startswith(".") or part == JUNK for part in parts)
    return not hidden and parts[-1].lower().endswith(IMAGE_SUFFIXES)


def _unwrapped(parts: Sequence[str], images: Sequence[Sequence[str]]) -> Sequence[str]:
    """Without the folder that holds everything, where the data set's folder itself was packed."""
    wrapped = len({image[0] for image in images}) == 1 and parts[0] not in (TRAIN, *VALIDATION)
    return parts[1:] if wrapped else parts


def _class_of(parts: Sequence[str]) -> str | None:
    if len(parts) > 2 and parts[0] in (TRAIN, *VALIDATION):
        return parts[1]
    return parts[0] if len(parts) > 1 else None
