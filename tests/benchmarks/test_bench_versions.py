"""Bench versions: BatchNorm's statistics are the images', and a probability names its version."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks import bench_images, tf_bench_network
from benchmarks.bench_versions import BIAS_STEP, CLASSES, THRESHOLD, version_of
from contract.images import ImageLimits, decode_resized
from retrain import tf_export

SIDE = 16


def tiny_network() -> keras.Model:
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    inner = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(name="norm")]
    )
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(inner(keras.layers.Rescaling(1 / 255)(image))))
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")(features)
    return keras.Model(image, keras.layers.Dense(1, activation="sigmoid", name="probability")(hidden))


def logits(probabilities: np.ndarray) -> np.ndarray:
    given = probabilities.astype(np.float64)
    return np.log(given / (1 - given))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, SIDE, SIDE, 3), dtype=np.uint8)


def test_the_exported_versions_differ_by_the_bias_step_for_every_image(tmp_path: Path, pixels: np.ndarray) -> None:
    keras.utils.set_random_seed(1)
    model = tiny_network()
    tf_bench_network.settle(model, pixels)
    found = []
    for number, step in ((1, -BIAS_STEP / 2), (2, BIAS_STEP)):
        tf_bench_network.shift(model, step)
        folder = tmp_path / str(number)
        tf_export.export(model, folder, tf_export.Answering(CLASSES, THRESHOLD, (SIDE, SIDE)))
        found.append(tf_export.Published(folder, (SIDE, SIDE)).score_pixels(pixels))
    first, second = found
    np.testing.assert_allclose(logits(second) - logits(first), BIAS_STEP, atol=1e-4)
    assert [version_of(float(one), float(one)) for one in first] == [1] * len(pixels)
    assert [version_of(float(one), float(two)) for one, two in zip(first, second, strict=True)] == [2] * len(pixels)


def test_settling_takes_the_statistics_from_the_images_and_spreads_the_logits(pixels: np.ndarray) -> None:
    model = tiny_network()
    tf_bench_network.settle(model, pixels)
    inner = next(layer for layer in model.layers if isinstance(layer, keras.Sequential))
    convolution, norm = inner.layers
    features = np.asarray(convolution(pixels / np.float32(255)))
    np.testing.assert_allclose(norm.moving_mean, features.mean(axis=(0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, features.var(axis=(0, 1, 2)), rtol=1e-2)
    given = logits(np.asarray(model(pixels, training=False))[:, 0])
    assert abs(given.mean()) < 1e-3
    assert given.std() == pytest.approx(tf_bench_network.LOGIT_SPREAD, rel=1e-2)


@pytest.mark.parametrize(
    ("logit", "version"),
    [(-2.0, 1), (-0.6, 1), (-3.4, 1), (0.0, None), (2.0, 2), (0.6, 2), (3.4, 2), (-5.0, None), (6.0, None)],
)
def test_a_probability_between_or_beyond_names_no_version(logit: float, version: int | None) -> None:
    first = 1 / (1 + math.exp(2.0))
    assert version_of(first, 1 / (1 + math.exp(-logit))) == version


@pytest.mark.parametrize("probability", [0.0, 1.0, float("nan")])
def test_a_saturated_probability_names_no_version(probability: float) -> None:
    assert version_of(0.2, probability) is None


def test_drawn_images_have_the_size_of_photos() -> None:
    image = bench_images.draw(3)
    assert image == bench_images.draw(3) != bench_images.draw(4)
    assert 0.85 * bench_images.SIZE_BYTES < len(image) < 1.15 * bench_images.SIZE_BYTES
    assert decode_resized(image, 224, 224, ImageLimits()).std() > 10
