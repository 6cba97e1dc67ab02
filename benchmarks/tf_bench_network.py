"""Networks with random weights whose answers are sane and tell two versions apart. Run by `bench_versions.py`.

usage: python -m benchmarks.tf_bench_network BACKBONE SIDE IMAGES_FOLDER TARGET_FOLDER

BatchNorm's statistics are those of the images; the head is scaled so that their logits have mean 0 and deviation
LOGIT_SPREAD; versions 1 and 2 differ in the last bias alone, by BIAS_STEP. Writes TARGET/1 and TARGET/2 (SavedModels
with golden images), TARGET/calibration.npy, and TARGET/tensorflow.json with TensorFlow's answers.
"""

import sys
from pathlib import Path

import keras
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.bench_versions import BIAS_STEP, CLASSES, SETTLING, THRESHOLD, Answers
from contract.images import ImageLimits, Pixels, decode_resized
from contract.recipe import Pooling, Recipe
from retrain import golden, tf_export
from retrain.keras_network import assemble
from retrain.keras_weights import find_start

LOGIT_SPREAD = 0.5
GOLDEN_IMAGES = 16
LIMITS = ImageLimits()


def main(backbone: str, side: str, images: str, target: str) -> None:
    """Make both versions' SavedModels and everything that their manifests need of TensorFlow."""
    encoded = [path.read_bytes() for path in sorted(Path(images).glob("*.jpg"))]
    pixels = np.stack([decode_resized(one, int(side), int(side), LIMITS) for one in encoded])  # (N, H, W, 3)
    recipe = Recipe(backbone=backbone, weights="none", pooling=Pooling.AVERAGE, image_size=int(side))
    keras.utils.set_random_seed(recipe.seed)
    model = assemble(recipe, find_start(recipe)).model
    settle(model, pixels[:SETTLING])
    drawings = golden.draw_pool()[:: golden.POOL // GOLDEN_IMAGES]
    shift(model, -BIAS_STEP / 2)
    model.save(Path(target) / "model.keras")
    first = _export(model, Path(target) / "1", drawings)
    shift(model, BIAS_STEP)
    second = _export(model, Path(target) / "2", drawings)
    np.save(Path(target) / "calibration.npy", pixels[:SETTLING])
    answers = Answers(
        golden=tuple(_plain(published.score((one.data for one in drawings), LIMITS)) for published in (first, second)),
        images=_plain(first.score_pixels(pixels)),
    )
    (Path(target) / "tensorflow.json").write_bytes(msgspec.json.encode(answers))


def settle(model: keras.Model, pixels: Pixels) -> None:
    """Take BatchNorm's statistics from `pixels`, then scale the head: logits of mean 0 and deviation LOGIT_SPREAD.

    Args:
        model: (N, H, W, 3) uint8 -> (N, 1); has layers `hidden` and `probability`.
        pixels: (N, H, W, 3) uint8.
    """
    for layer in _layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one pass in training mode leaves exactly this batch's statistics
    model(pixels, training=True)
    features = keras.Model(model.inputs[0], model.get_layer("hidden").output)(pixels, training=False)  # (N, F)
    kernel = model.get_layer("probability").get_weights()[0]  # (F, 1)
    logits = np.asarray(features, np.float64) @ kernel.astype(np.float64)
    scale = LOGIT_SPREAD / logits.std()
    model.get_layer("probability").set_weights([kernel * scale, np.float32([-logits.mean() * scale])])


def shift(model: keras.Model, step: float) -> None:
    """Add `step` to the last bias, and so to every image's logit."""
    kernel, bias = model.get_layer("probability").get_weights()
    model.get_layer("probability").set_weights([kernel, bias + np.float32(step)])


def _layers(model: keras.Model) -> list[keras.Layer]:
    return [each for layer in model.layers for each in ([layer] if not hasattr(layer, "layers") else _layers(layer))]


def _export(model: keras.Model, folder: Path, drawings: list[golden.Drawing]) -> tf_export.Published:
    size = model.inputs[0].shape[1:3]
    tf_export.export(model, folder, tf_export.Answering(CLASSES, THRESHOLD, size))
    golden.write(folder, drawings)
    return tf_export.Published(folder, size)


def _plain(probabilities: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(float(value) for value in probabilities)


if __name__ == "__main__":
    main(*sys.argv[1:])
