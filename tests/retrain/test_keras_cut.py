"""Where the network is cut: in front of the first layer that learns, through as many tensors as cross there."""

from dataclasses import replace

import keras
import numpy as np
import orchard
import pytest

from contract.recipe import Pooling, Preprocessing, Recipe
from retrain import keras_cut
from retrain.keras_backbones import find_backbone
from retrain.keras_network import Built, assemble
from retrain.keras_phases import freeze, unfreeze_tail
from retrain.keras_weights import StartingPoint

# See test_keras_training.py.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

PIXELS = np.random.default_rng(3).integers(0, 255, (5, 32, 32, 3), np.uint8)
RECIPE = replace(orchard.TINY, backbone=None)


def build(name: str, recipe: Recipe = RECIPE) -> Built:
    keras.utils.set_random_seed(1)
    backbone = find_backbone(name)
    layers = backbone.create(32, alpha=recipe.alpha, weights=None, preprocessing=recipe.preprocessing)
    return assemble(recipe, StartingPoint(backbone, layers, "imagenet", 32))


def whole(built: Built) -> np.ndarray:
    return np.asarray(built.model.predict(PIXELS, verbose=0))


@pytest.mark.parametrize(
    ("name", "count", "crossing"),
    [
        ("VGG16", 4, 1),
        ("VGG16", 8, 1),
        ("ResNet50", 4, 2),
        ("MobileNet", 4, 1),
        ("MobileNetV2", 12, 1),
        ("Compact", 2, 1),
    ],
)
def test_the_parts_together_are_the_network(name: str, count: int, crossing: int) -> None:
    built = build(name)
    unfreeze_tail(built.start.layers, count)
    cut = keras_cut.before_tail(RECIPE, built)
    assert cut is not None
    assert len(cut.tensors) == crossing
    reached = cut.front.predict(PIXELS, verbose=0)
    assert {name: values.shape[1:] for name, values in reached.items()} == cut.tensors
    np.testing.assert_allclose(cut.rest.predict(reached, verbose=0), whole(built), atol=1e-5)
    freeze(built.start.layers)
    head = keras_cut.before_head(RECIPE, built)
    both = keras_cut.join(cut).predict(PIXELS, verbose=0)
    assert set(both) == {keras_cut.HEAD, *cut.tensors}
    np.testing.assert_allclose(both[keras_cut.HEAD], head.front.predict(PIXELS, verbose=0)[keras_cut.HEAD], atol=1e-4)
    np.testing.assert_allclose(
        head.rest.predict({keras_cut.HEAD: both[keras_cut.HEAD]}, verbose=0), whole(built), atol=1e-5
    )


def test_what_learns_behind_the_cut_is_what_learns_in_the_network() -> None:
    built = build("ResNet50")
    unfreeze_tail(built.start.layers, 4)
    cut = keras_cut.before_tail(RECIPE, built)
    assert cut is not None
    assert {id(weight) for weight in cut.rest.trainable_weights} == {id(w) for w in built.model.trainable_weights}
    assert not cut.front.trainable_weights
    freeze(built.start.layers)
    assert len(keras_cut.before_head(RECIPE, built).rest.trainable_weights) == 4  # two Dense layers


def test_nothing_is_cut_where_the_first_layer_learns() -> None:
    built = build("Compact")
    unfreeze_tail(built.start.layers, 99)
    assert keras_cut.before_tail(RECIPE, built) is None


def test_layers_beside_the_ones_that_learn_are_in_front() -> None:
    """A branch that is frozen, though it comes late, need not be computed at every epoch either."""
    given = keras.Input((8, 8, 3))
    early = keras.layers.Conv2D(2, 3, padding="same", name="early")(given)
    learns = keras.layers.Conv2D(2, 3, padding="same", name="learns")(early)
    beside = keras.layers.Conv2D(2, 3, padding="same", name="beside")(early)
    beside = keras.layers.ReLU(name="late")(beside)
    backbone = keras.Model(given, keras.layers.Add(name="joined")([learns, beside]))
    for layer in backbone.layers:
        layer.trainable = layer.name == "learns"
    crossing = {tensor._keras_history.operation.name for tensor in keras_cut.frontier(backbone).values()}
    assert crossing == {"early", "late"}


def test_the_identity_holds_all_that_the_activations_depend_on() -> None:
    built = build("MobileNet")
    freeze(built.start.layers)
    first = keras_cut.before_head(RECIPE, built).identity
    assert first == keras_cut.before_head(RECIPE, build("MobileNet")).identity, "equal networks share"
    others = {
        "weights": keras_cut.before_head(RECIPE, _moved(build("MobileNet"))).identity,
        "preprocessing": _identity(replace(RECIPE, preprocessing=Preprocessing.RESCALE)),
        "pooling": _identity(replace(RECIPE, pooling=Pooling.AVERAGE)),
        "width": _identity(replace(RECIPE, alpha=0.5)),
    }
    assert len({first, *others.values()}) == 1 + len(others)
    unfreeze_tail(built.start.layers, 4)
    shallow = keras_cut.before_tail(RECIPE, built)
    unfreeze_tail(built.start.layers, 12)
    deep = keras_cut.before_tail(RECIPE, built)
    assert shallow is not None
    assert deep is not None
    assert shallow.identity != deep.identity


def test_what_the_head_and_the_tail_learn_does_not_change_the_identity() -> None:
    built = build("VGG16")
    unfreeze_tail(built.start.layers, 4)
    before = keras_cut.before_tail(RECIPE, built)
    for layer in (built.start.layers.get_layer("block5_conv3"), built.head[0]):
        layer.set_weights([weight + 1 for weight in layer.get_weights()])
    after = keras_cut.before_tail(RECIPE, built)
    assert before is not None
    assert after is not None
    assert before.identity == after.identity


def _identity(recipe: Recipe) -> str:
    built = build("MobileNet", recipe)
    freeze(built.start.layers)
    return keras_cut.before_head(recipe, built).identity


def _moved(built: Built) -> Built:
    layer = built.start.layers.get_layer("conv1")
    layer.set_weights([weight + 0.01 for weight in layer.get_weights()])
    return built
