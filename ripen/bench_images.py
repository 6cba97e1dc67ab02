"""The images that a load sends: a folder's, or drawn ones. Neither line."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ripen.errors import InvalidFolder
from ripen.sample_set import draw_jpeg, sample_pictures

DRAWN = 16
MOST = 1000  # of a folder: they all lie in memory
LONGEST_START = 12
STARTS = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (8, b"WEBP"))  # JPEG, PNG, WebP: at which byte, which bytes


@dataclass(frozen=True)
class FoundImages:
    """Encoded images, and the files of the folder that are none."""

    images: tuple[bytes, ...]
    skipped: tuple[Path, ...] = ()


def draw_images() -> tuple[bytes, ...]:
    """The first pictures of the sample set."""
    return tuple(draw_jpeg(picture) for picture in islice(sample_pictures(), DRAWN))


def read_images(folder: Path) -> FoundImages:
    """The images of a folder and its subfolders; evenly chosen ones where there are more than MOST.

    Raises:
        InvalidFolder: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InvalidFolder(f"{folder} is not a folder; expected one with JPEG, PNG or WebP images.")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    images = [path for path in files if _is_image(path)]
    if not images:
        raise InvalidFolder(f"{folder} holds no JPEG, PNG or WebP image ({len(files)} other files).")
    step = -(-len(images) // MOST)
    found = set(images)
    return FoundImages(
        tuple(path.read_bytes() for path in images[::step]), tuple(path for path in files if path not in found)
    )


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(LONGEST_START)
    return any(start.startswith(wanted, place) for place, wanted in STARTS)
