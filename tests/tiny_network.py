"""Makes tiny SavedModels for OpenVINO, and images for them, in a second: the tests of the conversion share them."""

from pathlib import Path

import keras
import numpy as np
import orchard

from contract.images import Pixels
from retrain.conversion import Samples
from retrain.keras_network import build
from retrain.tf_export import Answering, Published, export

SIZE = (32, 32)
COUNTS = {"calibration": 6, "golden": 4, "holdout": 10}


def make(folder: Path) -> keras.Model:
    """Export an untrained network of 32 x 32 pixels; return it."""
    model = build(orchard.TINY).model
    export(model, folder, Answering(orchard.CLASSES, 0.5, SIZE))
    return model


def images(count: int, seed: int = 0) -> Pixels:
    """(count, 32, 32, 3) uint8 of different colours."""
    generator = np.random.default_rng(seed)
    colours = generator.integers(0, 200, (count, 1, 1, 3))
    return (colours + generator.integers(0, 56, (count, *SIZE, 3))).astype(np.uint8)


def samples(folder: Path) -> Samples:
    """Images with the SavedModel's own answers; the threshold lies amid them."""
    calibration, golden, holdout = (images(count, seed) for seed, count in enumerate(COUNTS.values()))
    published = Published(folder, SIZE)
    reference = published.score_pixels(holdout)
    return Samples(
        calibration=calibration,
        golden=golden,
        golden_reference=published.score_pixels(golden),
        holdout=holdout,
        reference=reference,
        labels=np.arange(len(holdout), dtype=np.uint8) % 2,
        threshold=float(np.median(reference)),
    )
