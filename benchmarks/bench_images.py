"""The 200 JPEGs that the benchmarks send: about 33 KB and 500 pixels each, from a folder of photos or drawn."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 200
SIZE_BYTES = 33_000
HEIGHT, WIDTH = 375, 500
QUALITY = 90
GRAIN = 1.6  # standard deviation of the finest noise in grey levels: with it a drawn file has 33 KB on average


def prepare(folder: Path, photos: Path | None) -> list[bytes]:
    """Read the images in `folder`, after putting them there where they are not yet.

    Args:
        folder: of the cache.
        photos: a folder with 200 JPEGs or more below it, of which those nearest to 33 KB are taken; None draws.
    """
    if not folder.is_dir():
        images = [draw(seed) for seed in range(COUNT)] if photos is None else _choose(photos)
        staging = folder.with_name(folder.name + ".part")
        staging.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            (staging / f"{number:03}.jpg").write_bytes(image)
        staging.rename(folder)
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def draw(seed: int) -> bytes:
    """A JPEG with a photo's spectrum: noise of every scale, each coarser one stronger."""
    generator = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH, 3), generator.uniform(70, 180, 3))  # (H, W, 3) float64
    for scale in (125, 63, 32, 16, 8, 4, 2, 1):
        coarse = generator.normal(0, GRAIN * scale**0.6, (-(-HEIGHT // scale), -(-WIDTH // scale), 3))
        picture += _enlarge(coarse)
    stream = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def _enlarge(coarse: np.ndarray) -> np.ndarray:
    channels = [
        np.asarray(Image.fromarray(np.float32(coarse[:, :, channel])).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        for channel in range(3)
    ]
    return np.stack(channels, axis=2)


def _choose(photos: Path) -> list[bytes]:
    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if len(files) < COUNT:
        raise SystemExit(f"{photos} has {len(files)} JPEGs; expected at least {COUNT}, or leave --photos out.")
    nearest = sorted(files, key=lambda path: abs(path.stat().st_size - SIZE_BYTES))[:COUNT]
    order = np.random.default_rng(0).permutation(COUNT)
    return [nearest[place].read_bytes() for place in order]
