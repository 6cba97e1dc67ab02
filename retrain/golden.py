"""Golden images: drawn by us, so that no user's image is in a version's folder. LINE B step 4.

A pool of pictures, always the same, of which a version keeps those that its network answers most differently.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from contract.images import Pixels
from retrain.evaluation import Probabilities

POOL = 64
SIZES = ((96, 128), (160, 120), (224, 224), (300, 200))  # (height, width); networks take 32 to 600 pixels
FORMATS = (("JPEG", "jpg"), ("PNG", "png"))  # both decoders are exercised
BLOCKS = (2, 4, 8, 16)  # noise is drawn in blocks of so many pixels: finer noise is grey to a network


@dataclass(frozen=True)
class Drawing:
    """One encoded picture; `extension` is its file name's."""

    data: bytes
    extension: str


def draw_pool() -> list[Drawing]:
    """POOL pictures: gradients, discs, stripes and noise, in several sizes, as JPEG and PNG."""
    kinds = (_gradient, _discs, _stripes, _noise)
    drawings = []
    for number in range(POOL):
        generator = np.random.default_rng(number)
        height, width = SIZES[number // len(kinds) % len(SIZES)]
        form, extension = FORMATS[number // (len(kinds) * len(SIZES)) % len(FORMATS)]
        drawings.append(Drawing(_encode(kinds[number % len(kinds)](generator, height, width), form), extension))
    return drawings


def choose_spread(probabilities: Probabilities, count: int) -> list[int]:
    """Places of `count` probabilities that lie far from each other: the two ends, then each time the most distant one.

    Args:
        probabilities: (N,) float32, N >= 1.
        count: how many are chosen, or all N where there are fewer.
    """
    chosen = [int(np.argmin(probabilities))]
    distance = np.abs(probabilities - probabilities[chosen[0]])  # (N,) to the nearest chosen one
    while len(chosen) < min(count, len(probabilities)):
        distance[chosen] = -1.0  # equal probabilities: the next place, never one twice
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.abs(probabilities - probabilities[chosen[-1]]))
    return sorted(chosen)


def write(folder: Path, drawings: list[Drawing]) -> tuple[str, ...]:
    """Write pictures to `golden/` in a version's folder; return their paths inside the folder."""
    (folder / "golden").mkdir()
    names = tuple(f"golden/{number:02d}.{drawing.extension}" for number, drawing in enumerate(drawings))
    for name, drawing in zip(names, drawings, strict=True):
        (folder / name).write_bytes(drawing.data)
    return names


def _gradient(generator: Generator, height: int, width: int) -> Pixels:
    first, second = _colours(generator, 2)
    down, across = generator.uniform(0.1, 1, 2)
    along = down * np.linspace(0, 1, height)[:, None] + across * np.linspace(0, 1, width)
    share = (along / (down + across))[..., None]  # (H, W, 1) in [0, 1]
    return np.asarray(first + share * (second - first), np.uint8)


def _discs(generator: Generator, height: int, width: int) -> Pixels:
    ground, *colours = _colours(generator, 5)
    picture = np.broadcast_to(np.uint8(ground), (height, width, 3)).copy()
    rows, columns = np.mgrid[0:height, 0:width]
    for colour in colours:
        row, column = generator.uniform(0, height), generator.uniform(0, width)
        radius = generator.uniform(0.1, 0.4) * min(height, width)
        picture[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = np.uint8(colour)
    return picture


def _stripes(generator: Generator, height: int, width: int) -> Pixels:
    first, second = _colours(generator, 2)
    rows, columns = np.mgrid[0:height, 0:width]
    angle, period = generator.uniform(0, np.pi), generator.uniform(6, 60)
    wave = np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * 2 * np.pi / period)
    return np.where(wave[..., None] > 0, np.uint8(first), np.uint8(second))


def _noise(generator: Generator, height: int, width: int) -> Pixels:
    block = int(generator.choice(BLOCKS))
    colour = _colours(generator, 1)[0]
    coarse = generator.normal(colour, 40, (-(-height // block), -(-width // block), 3))
    fine = np.kron(np.clip(coarse, 0, 255), np.ones((block, block, 1)))
    return fine[:height, :width].astype(np.uint8)


def _colours(generator: Generator, count: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    return list(generator.uniform(0, 255, (count, 3)))


def _encode(picture: Pixels, form: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, form)
    return stream.getvalue()
