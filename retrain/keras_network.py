"""The network: uint8 pixels -> preprocessing -> backbone -> Flatten or pooling -> Dense -> probability. LINE B, train.

Keras' own words for the guide: `include_top=False`, Flatten, Dense(256, relu), Dense(1, sigmoid).
"""

from dataclasses import dataclass

import keras

from contract.recipe import Pooling, Recipe
from retrain.keras_weights import StartingPoint, find_start


@dataclass(frozen=True)
class Built:
    """A network ready to train: (N, size, size, 3) uint8 -> (N, 1) float32 in [0, 1].

    `start.layers` is the backbone inside `model`, the same object.
    """

    model: keras.Model
    start: StartingPoint

    @property
    def image_size(self) -> tuple[int, int]:
        return self.start.size, self.start.size


def build(recipe: Recipe) -> Built:
    """Build the recipe's network.

    Raises:
        WeightsUnavailable, TrainingFailed: see `find_start`.
    """
    keras.config.disable_interactive_logging()  # no progress bars of downloads and epochs on stdout
    start = find_start(recipe)
    return Built(assemble(recipe, start), start)


def assemble(recipe: Recipe, start: StartingPoint) -> keras.Model:
    """Put preprocessing before the backbone and the head behind it; the head's weights come from the recipe's seed."""
    keras.utils.set_random_seed(recipe.seed)
    pixels = keras.Input((start.size, start.size, 3), dtype="uint8", name="image")  # (N, H, W, 3) uint8
    features = start.layers(start.backbone.prepare(pixels, recipe.preprocessing))
    if recipe.pooling is Pooling.AVERAGE and len(features.shape) > 2:
        features = keras.layers.GlobalAveragePooling2D()(features)
    vector = keras.layers.Flatten()(features)  # (N, F) float32
    hidden = keras.layers.Dense(recipe.dense_units, activation="relu", name="hidden")(vector)
    probability = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")(hidden)
    return keras.Model(pixels, probability, name=start.backbone.name.lower())  # (N, 1) float32
