"""The sample set: apples and oranges, drawn, for the first version where a user brings no pictures. Before LINE B.

Seeded: the same seed gives the same bytes on the same library versions.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ripen.sample_scene import Fruit, draw_photograph

SEED = 20
TRAIN_PER_CLASS = 400
VALIDATION_PER_CLASS = 80


@dataclass(frozen=True)
class Picture:
    """One picture to draw: `file` below the set's folder, and what its random numbers start from."""

    file: Path
    fruit: Fruit
    seed: tuple[int, ...]


def draw_sample_set(folder: Path, *, seed: int = SEED, on_drawn: Callable[[int, int], None] = lambda *_: None) -> int:
    """Draw `train/` and `validation/` with `apple/` and `orange/` each; what is already there stays.

    Args:
        folder: made where it does not exist.
        seed: another seed draws another set.
        on_drawn: called with (pictures done, pictures in all).

    Returns:
        How many pictures the set has.
    """
    pictures = list(sample_pictures(seed))
    for parent in sorted({folder / picture.file.parent for picture in pictures}):
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        done = threads.map(lambda picture: _write(folder / picture.file, picture), pictures)
        for count, _ in enumerate(done, start=1):
            on_drawn(count, len(pictures))
    return len(pictures)


def sample_pictures(seed: int = SEED) -> Iterator[Picture]:
    """Name every picture of the set."""
    for part, (split, count) in enumerate((("train", TRAIN_PER_CLASS), ("validation", VALIDATION_PER_CLASS))):
        for which, fruit in enumerate(Fruit):
            for number in range(count):
                file = Path(split, fruit, f"{fruit}-{number:03d}.jpg")
                yield Picture(file, fruit, (seed, part, which, number))


def draw_jpeg(picture: Picture) -> bytes:
    """Draw one picture and encode it as a JPEG of ordinary to poor quality."""
    random = np.random.default_rng(picture.seed)
    pixels = draw_photograph(picture.fruit, random)
    quality = int(random.integers(60, 93))
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def _write(path: Path, picture: Picture) -> None:
    if path.exists():
        return
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(draw_jpeg(picture))
    unfinished.replace(path)
