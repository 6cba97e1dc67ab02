"""The network: uint8 pixels -> preprocessing -> backbone -> Flatten or pooling -> Dense -> probability. LINE B, train.

Keras' own words for the guide: `include_top=False`, Flatten, Dense(256, relu), Dense(1, sigmoid).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import keras

from contract.recipe import Pooling, Recipe
from retrain.keras_weights import StartingPoint, find_start


@dataclass(frozen=True)
class Built:
    """A network ready to train: (N, size, size, 3) uint8 -> (N, 1) float32 in [0, 1].

    Attributes:
        model: the whole network.
        start: `start.layers` is the backbone inside `model`, the same object.
        vector: what makes a vector of the backbone's feature map, without weights.
        head: the Dense layers behind it.
    """

    model: keras.Model
    start: StartingPoint
    vector: tuple[keras.Layer, ...]
    head: tuple[keras.Layer, ...]

    @property
    def image_size(self) -> tuple[int, int]:
        return self.start.size, self.start.size


def build(recipe: Recipe) -> Built:
    """Build the recipe's network.

    Raises:
        WeightsUnavailable, TrainingFailed: see `find_start`.
    """
    keras.config.disable_interactive_logging()  # no progress bars of downloads and epochs on stdout
    return assemble(recipe, find_start(recipe))


def assemble(recipe: Recipe, start: StartingPoint) -> Built:
    """Put preprocessing before the backbone and the head behind it; the head's weights come from the recipe's seed."""
    keras.utils.set_random_seed(recipe.seed)
    pixels = pixel_input(start)
    maps = start.layers(start.backbone.prepare(pixels, recipe.preprocessing))
    pooled = recipe.pooling is Pooling.AVERAGE and len(maps.shape) > 2
    vector = (*([keras.layers.GlobalAveragePooling2D()] if pooled else []), keras.layers.Flatten())
    head = (
        keras.layers.Dense(recipe.dense_units, activation="relu", name="hidden"),
        keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="probability"),
    )
    probability = chain((*vector, *head), maps)
    model = keras.Model(pixels, probability, name=start.backbone.name.lower())  # (N, 1) float32
    return Built(model, start, vector, head)


def pixel_input(start: StartingPoint) -> keras.KerasTensor:
    """The network's input: (N, H, W, 3) uint8."""
    return keras.Input((start.size, start.size, 3), dtype="uint8", name="image")


def chain(layers: Sequence[keras.Layer], tensor: keras.KerasTensor) -> keras.KerasTensor:
    """One layer after the other."""
    return reduce(lambda given, layer: layer(given), layers, tensor)
