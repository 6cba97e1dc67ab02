"""The network in two parts: what never changes in a phase, and what stands behind it. LINE B, cache.

Whatever does not depend on a layer that learns gives the same activations at every epoch.
"""

import hashlib
import json
from dataclasses import dataclass

import keras
import numpy as np

from contract.recipe import Recipe
from retrain.keras_network import Built, chain, pixel_input

HEAD = "features"  # the tensor between the backbone and the head


@dataclass(frozen=True)
class Cut:
    """A place between frozen layers and those behind them.

    Attributes:
        tensors: name -> shape without the batch's axis, of the activations there, float32.
        identity: 64 hex digits in which everything counts that these depend on, but for the image.
        front: (N, H, W, 3) uint8 -> dict of the tensors.
        rest: dict of the tensors -> (N, 1) float32 in [0, 1]; it shares its layers with the whole network.
        features: dict of the tensors -> dict of the head's one; None where these are the same.
    """

    tensors: dict[str, tuple[int, ...]]
    identity: str
    front: keras.Model
    rest: keras.Model
    features: keras.Model | None = None


def before_head(recipe: Recipe, built: Built) -> Cut:
    """The cut behind the whole backbone, whose feature map lies there as a vector."""
    pixels = pixel_input(built.start)
    maps = built.start.layers(built.start.backbone.prepare(pixels, recipe.preprocessing))
    features = chain(built.vector, maps)
    given = keras.Input(features.shape[1:], name=HEAD)
    rest = keras.Model({HEAD: given}, chain(built.head, given))
    front = keras.Model(pixels, {HEAD: features})
    return Cut({HEAD: features.shape[1:]}, _identity(recipe, built, recipe.pooling, front), front, rest)


def before_tail(recipe: Recipe, built: Built) -> Cut | None:
    """The cut before the first layers of the backbone that are trainable now; None where that is its input."""
    backbone = built.start.layers
    places = frontier(backbone)
    if any(tensor is given for tensor in places.values() for given in backbone.inputs):
        return None
    pixels = pixel_input(built.start)
    prepared = built.start.backbone.prepare(pixels, recipe.preprocessing)
    front = keras.Model(pixels, keras.Model(backbone.inputs, dict(places))(prepared))
    given = {name: keras.Input(tensor.shape[1:], name=name) for name, tensor in places.items()}
    behind = keras.Model(list(places.values()), backbone.outputs[0])
    features = chain(built.vector, behind(list(given.values())))
    rest = keras.Model(given, chain(built.head, features))
    shapes = {name: tensor.shape[1:] for name, tensor in places.items()}
    identity = _identity(recipe, built, tuple(places), front)
    return Cut(shapes, identity, front, rest, keras.Model(given, {HEAD: features}))


def frontier(backbone: keras.Model) -> dict[str, keras.KerasTensor]:
    """The tensors that depend on no trainable layer and go into one, or into what depends on one.

    A residual network has several. Their names, `layer_12`, count the backbone's layers.
    """
    graph = backbone._functional if isinstance(backbone, keras.Sequential) else backbone  # the walk is Keras' own
    learning: set[int] = set()  # ids of tensors
    found: dict[int, keras.KerasTensor] = {}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            moved = [tensor for tensor in node.input_tensors if id(tensor) in learning]
            if not moved and not getattr(node.operation, "trainable_weights", ()):
                continue
            learning.update(id(tensor) for tensor in node.output_tensors)
            found.update((id(tensor), tensor) for tensor in node.input_tensors if id(tensor) not in learning)
    if not found:
        found = {id(tensor): tensor for tensor in backbone.outputs}
    return {_place(graph.operations, tensor): tensor for tensor in found.values()}


def join(tail: Cut) -> keras.Model:
    """One pass for the tensors before the tail and the head's: (N, H, W, 3) uint8 -> dict."""
    assert tail.features is not None
    pixels = keras.Input(tail.front.input_shape[1:], dtype="uint8", name="image")
    tensors = tail.front(pixels)
    return keras.Model(pixels, {**tensors, **tail.features(tensors)})


def _place(operations: list[keras.Operation], tensor: keras.KerasTensor) -> str:
    history = tensor._keras_history
    index = "" if history.tensor_index == 0 else f"_{history.tensor_index}"
    return f"layer_{operations.index(history.operation)}{index}"


def _identity(recipe: Recipe, built: Built, place: object, front: keras.Model) -> str:
    weights = hashlib.sha256()
    for weight in front.weights:
        weights.update(np.ascontiguousarray(weight.numpy()).data)
    told = [built.start.backbone.name, built.start.size, recipe.alpha, recipe.preprocessing, place, weights.hexdigest()]
    return hashlib.sha256(json.dumps([*told, keras.__version__, keras.backend.backend()]).encode()).hexdigest()
