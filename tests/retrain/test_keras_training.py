"""The guide's two phases, and the traps they avoid."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import orchard
import pytest

from contract.errors import NothingToTrain
from contract.recipe import Keep, Recipe
from contract.training import Epoch
from retrain.dataset import LabelledImages
from retrain.keras_batches import Batches
from retrain.keras_epochs import Kept
from retrain.keras_features import Parts
from retrain.keras_network import Built, assemble
from retrain.keras_phases import Phase, plan, unfreeze_tail
from retrain.keras_training import Trained, Training, save
from retrain.keras_weights import StartingPoint, find_start
from retrain.progress import Moment

# Keras 3.15 saves and loads weights with numpy.array(variable); TensorFlow's variables do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


class Listening:
    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.epochs: list[Epoch] = []

    def moment(self, moment: Moment) -> None:
        self.moments.append(moment)

    def epoch(self, epoch: Epoch, moment: Moment) -> None:
        self.moments.append(moment)
        self.epochs.append(epoch)


def normalized_backbone() -> keras.Model:
    """Convolution and BatchNormalization twice, the second pair inside a nested model, then layers without weights."""
    layers = keras.layers
    block = keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization()], name="block")
    return keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), block, layers.ReLU()]
    )


def images(count: int, seed: int = 0) -> LabelledImages:
    pixels = np.random.default_rng(seed).integers(0, 120, (count, 32, 32, 3), dtype=np.uint8)
    labels = (np.arange(count) % 2).astype(np.uint8)
    pixels[labels == 1, :, :, 2] += 120
    return LabelledImages(pixels, labels, (None,) * count)  # type: ignore[arg-type]  # rows are not looked at here


def train(
    recipe: Recipe, backbone: keras.Model | None, listening: Listening | None = None
) -> tuple[Built, Parts, Trained]:
    start = find_start(orchard.TINY)
    if backbone is not None:
        start = StartingPoint(start.backbone, backbone, "imagenet", 32)
    built = assemble(recipe, start)
    parts = Parts(recipe, built, None, 32, plan(recipe, start.pretrained))
    return built, parts, Training(recipe, built, parts, listening or Listening()).run(images(24), images(8, seed=1))


def test_the_phases_are_the_guides() -> None:
    assert plan(Recipe(), True) == (Phase("head", 1, 5), Phase("tail", 6, 10))
    assert plan(Recipe(), False) == (Phase("whole", 1, 15),)
    assert plan(Recipe(tail_epochs=0), True) == (Phase("head", 1, 5),)


def test_batch_normalization_never_moves_and_the_tail_does() -> None:
    backbone = normalized_backbone()
    first, norm, block = backbone.layers[:3]
    inner, inner_norm = block.layers
    watched = {name: layer.get_weights() for name, layer in (("first", first), ("norm", norm), ("inner", inner_norm))}
    kernel = inner.get_weights()[0]
    _, _, trained = train(replace(orchard.TINY, tail_layers=2, tail_epochs=2), backbone)
    for name, layer in (("first", first), ("norm", norm), ("inner", inner_norm)):
        for before, after in zip(watched[name], layer.get_weights(), strict=True):
            assert np.array_equal(before, after), name
    assert not np.array_equal(kernel, inner.get_weights()[0])
    assert trained.network.unfrozen_layers == ("block",)
    assert [epoch.phase for epoch in trained.history] == ["head", "tail", "tail"]


def test_the_head_phase_leaves_the_backbone_alone() -> None:
    backbone = normalized_backbone()
    before = backbone.get_weights()
    train(replace(orchard.TINY, head_epochs=2, tail_epochs=0), backbone)
    assert all(np.array_equal(old, new) for old, new in zip(before, backbone.get_weights(), strict=True))


def test_a_slice_without_weights_is_extended_and_said() -> None:
    layers = keras.layers
    backbone = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(2, 3, name="early"),
            layers.Conv2D(2, 3, name="late"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ],
        name="like_inception",
    )
    names, notes = unfreeze_tail(backbone, 2)
    assert names == ("late",)
    assert notes == ["The last 2 layers of like_inception hold no weight to train; the last 4 were unfrozen."]
    assert [layer.trainable for layer in backbone.layers] == [False, True, False, True, True]
    assert unfreeze_tail(backbone, 99) == (("early", "late"), [])


def test_a_backbone_without_weights_is_refused() -> None:
    with pytest.raises(NothingToTrain, match="no layer with weights"):
        unfreeze_tail(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.ReLU()]), 4)


@pytest.mark.parametrize("keep", Keep)
def test_a_whole_training_learns_reports_and_keeps_an_epoch(keep: Keep) -> None:
    listening = Listening()
    built, parts, trained = train(replace(orchard.TINY, keep=keep), None, listening)
    assert [(epoch.epoch, epoch.phase) for epoch in trained.history] == [(n, "whole") for n in range(1, 5)]
    assert listening.epochs == list(trained.history)
    fractions = [moment.fraction for moment in listening.moments]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (1 / 12, 1.0)
    best = min(trained.history, key=lambda epoch: epoch.validation_loss or 0)
    kept = best if keep is Keep.BEST else trained.history[-1]
    assert trained.network.kept_epoch == kept.epoch
    tune = images(8, seed=1)
    found = built.model.evaluate(tune.pixels, tune.labels.astype(np.float32)[:, None], verbose=0)
    assert found[0] == pytest.approx(kept.validation_loss, rel=1e-4)
    part = parts.all[-1]
    assert (part.model.predict(Batches(part, tune, 32), verbose=0) >= 0.5).mean() == pytest.approx(0.5, abs=0.2)


def test_the_best_epochs_weights_come_back_whatever_happened_since() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    best = model.get_weights()
    kept = Kept()
    for number, loss in ((1, 0.5), (2, 0.9), (3, float("nan"))):
        kept.offer(Epoch(number, "tail", 1.0, 0.5, loss, 0.5, 1.0), model)
        for weight in model.weights:
            weight.value.assign_add(np.ones(weight.shape, np.float32))  # in place, as an optimizer does
    kept.restore()
    assert kept.epoch == 1
    assert all(np.array_equal(old, new) for old, new in zip(best, model.get_weights(), strict=True))


def test_without_validation_the_last_epoch_stays() -> None:
    kept = Kept()
    kept.offer(Epoch(1, "head", 1.0, 0.5, None, None, 1.0), keras.Sequential([keras.Input((1,))]))
    assert kept.epoch is None
    kept.restore()


def test_the_saved_file_holds_the_network_without_its_optimizer(tmp_path: Path) -> None:
    _, _, trained = train(replace(orchard.TINY, tail_epochs=1), None)
    save(trained.model, str(tmp_path / "model.keras"))
    again = keras.models.load_model(tmp_path / "model.keras")
    assert not again.compiled
    assert (tmp_path / "model.keras").stat().st_size < 1.2 * 4 * trained.network.total_parameters + 50_000
    pixels = images(4).pixels
    np.testing.assert_allclose(again.predict(pixels, verbose=0), trained.model.predict(pixels, verbose=0), atol=1e-6)
