"""A recipe's phases, and which layers learn in each. LINE B.

Source: the Keras guide "Transfer learning & fine-tuning", with two of its traps closed. BatchNormalization is frozen
layer by layer, because `trainable = True` on the backbone lets its statistics move even under `training=False`
(measured: by 0.16 in 2 epochs). And a slice without a weight, as the last 4 layers of InceptionV3, is extended.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from contract.errors import NothingToTrain
from contract.recipe import Recipe


@dataclass(frozen=True)
class Phase:
    """Some epochs with the same layers frozen: `head`, `tail`, or `whole`; `first` epoch counts from 1."""

    name: str
    first: int
    epochs: int


def plan(recipe: Recipe, pretrained: bool) -> tuple[Phase, ...]:
    """The recipe's phases: head, then tail; or the whole network at once where there is nothing to keep frozen."""
    if not pretrained:
        return (Phase("whole", 1, recipe.head_epochs + recipe.tail_epochs),)
    phases = (Phase("head", 1, recipe.head_epochs), Phase("tail", 1 + recipe.head_epochs, recipe.tail_epochs))
    return tuple(phase for phase in phases if phase.epochs)


def release(phase: Phase, recipe: Recipe, backbone: keras.Model) -> tuple[tuple[str, ...], list[str]]:
    """Let those layers of the backbone learn that do in a phase; see `unfreeze_tail`."""
    if phase.name == "tail":
        assert recipe.tail_layers is not None, "whoever tries several says which now"
        return unfreeze_tail(backbone, recipe.tail_layers)
    if phase.name == "head":
        freeze(backbone)
    return (), []


def freeze(backbone: keras.Model) -> None:
    """Let nothing of the backbone learn."""
    backbone.trainable = False


def unfreeze_tail(backbone: keras.Model, count: int) -> tuple[tuple[str, ...], list[str]]:
    """Make the last `count` layers trainable, except BatchNormalization; all others stay frozen.

    A slice that holds no weight is extended towards the input until it holds one.

    Returns:
        The names of the unfrozen layers that have weights; and notes for a person.

    Raises:
        NothingToTrain: no layer of the backbone has a weight to train.
    """
    layers = backbone.layers
    wanted = min(count, len(layers))
    for layer in _with_inner(backbone):
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    can_learn = [bool(layer.trainable_weights) for layer in layers]
    taken = next((size for size in range(wanted, len(layers) + 1) if any(can_learn[-size:])), None)
    if taken is None:
        raise NothingToTrain(f"{backbone.name} has no layer with weights to unfreeze; use another backbone.")
    for layer in layers[:-taken]:
        layer.trainable = False
    names = tuple(layer.name for layer in layers[-taken:] if layer.trainable_weights)
    if taken == wanted:
        return names, []
    said = f"The last {wanted} layers of {backbone.name} hold no weight to train; the last {taken} were unfrozen."
    return names, [said]


def _with_inner(layer: keras.Layer) -> Iterator[keras.Layer]:
    yield layer
    for inner in getattr(layer, "layers", []):
        yield from _with_inner(inner)


def depth_of(backbone: keras.Model, share: float) -> int:
    """How many of the last layers make up to `share` of the multiply-adds: at least as many as hold one weight.

    Source: the count of convolutions and dense layers, kernel size times output places.
    """
    costs = [_multiply_adds(layer) for layer in backbone.layers]
    allowed, spent, depth = share * sum(costs), 0, 0
    for cost in reversed(costs):
        spent += cost
        if depth and spent > allowed:
            break
        depth += 1
    return depth


def _multiply_adds(layer: keras.Layer) -> int:
    kernels = sum(int(np.prod(weight.shape)) for weight in layer.weights if len(weight.shape) > 1)
    if not kernels:
        return 0
    return kernels * int(np.prod([side or 1 for side in layer.output.shape[1:-1]]))
