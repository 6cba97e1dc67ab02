"""The live version's weights, for a training that goes on from them. LINE B, train."""

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from contract.artifact import Manifest
from retrain.keras_network import Built
from retrain.keras_phases import unfreeze_tail


def read_live(built: Built, depth: int, folder: Path, manifest: Manifest) -> list[NDArray[np.float32]] | None:
    """The weights of a version, in the order of the network's own.

    Args:
        built: the network that is to go on from them.
        depth: how many of the backbone's last layers will learn.
        folder, manifest: the version's, verified.

    Returns:
        None where it is another network, or differs below those layers: its activations there are not the cached ones.
    """
    if (manifest.network.backbone, manifest.image_size) != (built.start.backbone.name, built.image_size):
        return None
    try:
        live = keras.models.load_model(str(folder / "model.keras"), compile=False)
    except (OSError, ValueError):
        return None
    values = [weight.numpy() for weight in live.weights]
    own = built.model.weights
    if [value.shape for value in values] != [tuple(weight.shape) for weight in own]:
        return None
    unfreeze_tail(built.start.layers, depth)
    learning = {id(weight) for weight in built.model.trainable_weights}
    frozen = [(weight, value) for weight, value in zip(own, values, strict=True) if id(weight) not in learning]
    return values if all(np.array_equal(weight.numpy(), value) for weight, value in frozen) else None
