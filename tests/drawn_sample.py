"""A part of the drawn sample set, for tests that train."""

from pathlib import Path

from ripen.sample_set import SEED, draw_jpeg, sample_pictures


def draw(folder: Path, *, train: int, validation: int, seed: int = SEED) -> Path:
    """Draw the first `train` and `validation` pictures of each class into a dataset folder, and return it."""
    wanted = {"train": train, "validation": validation}
    for picture in sample_pictures(seed):
        number = int(picture.file.stem.rsplit("-", 1)[1])
        if number < wanted[picture.file.parts[0]]:
            (folder / picture.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / picture.file).write_bytes(draw_jpeg(picture))
    return folder
