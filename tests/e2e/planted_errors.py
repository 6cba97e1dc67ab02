"""usage: planted_errors.py DATASET: the share of 5 % planted label errors among the first 8 % of those ranked.

In a process of its own, since it loads Keras.
"""

import sys
from pathlib import Path
from statistics import mean

import keras
import numpy as np

from contract.images import ImageLimits, decode_resized
from retrain import probe
from retrain.label_errors import rank

SIDE, PLANTED, LISTED, DRAWS = 224, 0.05, 0.08, 3


def main(folder: Path) -> float:
    """The mean share over several draws."""
    files = sorted((folder / "train").glob("*/*"))
    truth = np.array([file.parent.name == files[-1].parent.name for file in files], np.uint8)
    pixels = np.stack([decode_resized(file.read_bytes(), SIDE, SIDE, ImageLimits()) for file in files])
    backbone = keras.applications.MobileNet(
        weights="imagenet", alpha=0.25, input_shape=(SIDE, SIDE, 3), include_top=False, pooling="avg"
    )
    features = backbone.predict(pixels / np.float32(127.5) - 1, verbose=0)[None]
    return mean(found(features, truth, seed) for seed in range(DRAWS))


def found(features: np.ndarray, truth: np.ndarray, seed: int) -> float:
    """The share of one draw."""
    wrong = np.random.default_rng(seed).choice(len(truth), round(PLANTED * len(truth)), replace=False)
    labels = truth.copy()
    labels[wrong] ^= 1
    fitted = probe.fit(features, labels, [str(row) for row in range(len(labels))], seed=seed)
    order, _ = rank(labels, fitted.out_of_fold)
    return len(set(order[: round(LISTED * len(labels))].tolist()) & set(wrong.tolist())) / len(wrong)


if __name__ == "__main__":
    print(f"{main(Path(sys.argv[1])):.3f} of the planted label errors are in the first {LISTED:.0%}")
