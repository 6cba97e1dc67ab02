"""Training on cached activations: the same losses as without the cache, and each image pays for the backbone once."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import orchard
import pytest
from small_pictures import SIDE, Listening, images

from contract.recipe import Recipe
from contract.training import Epoch
from retrain.features import FeatureCache
from retrain.keras_backbones import find_backbone
from retrain.keras_batches import Batches
from retrain.keras_features import Parts
from retrain.keras_network import Built, assemble
from retrain.keras_phases import plan
from retrain.keras_training import Training
from retrain.keras_weights import StartingPoint

# See test_keras_training.py.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

RECIPE = replace(orchard.TINY, backbone=None, head_epochs=2, tail_epochs=2, tail_layers=4, learning_rate=1e-3)
PLENTY = 2**30


TRAIN, TUNE, HOLDOUT = images(range(20)), images(range(100, 108)), images(range(200, 208))


def build(name: str, recipe: Recipe = RECIPE) -> Built:
    keras.utils.set_random_seed(1)
    backbone = find_backbone(name)
    layers = backbone.create(SIDE, alpha=None, weights=None, preprocessing=recipe.preprocessing)
    return assemble(recipe, StartingPoint(backbone, layers, "imagenet", SIDE))


def train(
    name: str, cache: FeatureCache | None, listening: Listening | None = None, recipe: Recipe = RECIPE
) -> tuple[tuple[Epoch, ...], np.ndarray, Parts]:
    built, listening = build(name, recipe), listening or Listening()
    buckets = [(images, 1) for images in (TRAIN, TUNE, HOLDOUT)]
    parts = Parts(recipe, built, cache, 36, plan(recipe, True))
    parts.fill(buckets, listening)
    trained = Training(recipe, built, parts, listening).run(TRAIN, TUNE)
    last = parts.all[-1]
    answers = last.model.predict(Batches(last, HOLDOUT, 32), verbose=0)[:, 0]
    np.testing.assert_allclose(answers, trained.model.predict(HOLDOUT.pixels, verbose=0)[:, 0], atol=1e-4)
    return trained.history, answers, parts


@pytest.mark.parametrize("name", ["VGG16", "ResNet50", "MobileNet"])
def test_the_losses_are_those_of_the_recipe_without_a_cache(tmp_path: Path, name: str) -> None:
    plain, plain_answers, parts = train(name, None)
    assert [part.space for part in parts.all] == [None, None]
    cached, cached_answers, parts = train(name, FeatureCache(tmp_path, PLENTY))
    assert all(part.space is not None for part in parts.all)
    assert [epoch.phase for epoch in cached] == ["head", "head", "tail", "tail"]
    for before, after in zip(plain, cached, strict=True):
        assert after.loss == pytest.approx(before.loss, rel=2e-3, abs=1e-4)
        assert after.validation_loss == pytest.approx(before.validation_loss, rel=2e-3, abs=1e-4)
    np.testing.assert_allclose(cached_answers, plain_answers, atol=5e-3)
    assert len({epoch.loss for epoch in cached}) == 4, "every epoch learns"


def test_only_new_images_go_through_the_frozen_layers_in_a_later_job(tmp_path: Path) -> None:
    cache, listening = FeatureCache(tmp_path, PLENTY), Listening()
    train("MobileNet", cache, listening)
    assert listening.passes == [(32, 36), (36, 36)]
    again = Listening()
    history, _, _ = train("MobileNet", cache, again)
    assert again.passes == []
    assert len(history) == 4
    later = Listening()
    parts = Parts(RECIPE, build("MobileNet"), cache, 40, plan(RECIPE, True))
    parts.fill([(TRAIN, 1), (images(range(300, 304)), 1)], later)
    assert later.passes == [(4, 4)]


def test_equal_seeds_give_equal_losses_from_the_cache(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, PLENTY)
    (first, before, _), (second, after, _) = (train("MobileNet", cache) for _ in range(2))
    assert [epoch.loss for epoch in first] == pytest.approx([epoch.loss for epoch in second], abs=1e-5)
    np.testing.assert_allclose(before, after, atol=1e-5)


def test_activations_that_do_not_fit_are_computed_anew_and_that_is_said(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 36 * 4 * 5000)  # features of MobileNet: 1024 numbers; before its last layers 4096
    history, _, parts = train("MobileNet", FeatureCache(tmp_path, 36 * 4 * 2000))
    assert [part.space is None for part in parts.all] == [False, True]
    (note,) = parts.notes
    assert "RIPEN_FEATURE_CACHE_BYTES" in note
    assert len(history) == 4
    assert cache.max_bytes > sum(path.stat().st_size for path in tmp_path.glob("*/*.npy"))


def test_a_network_that_learns_whole_is_trained_on_pixels(tmp_path: Path) -> None:
    recipe = replace(RECIPE, backbone="Compact", weights="none")
    built = build("Compact", recipe)
    start = replace(built.start, weights="none")
    parts = Parts(recipe, replace(built, start=start), FeatureCache(tmp_path, PLENTY), 36, plan(recipe, False))
    parts.fill([(TRAIN, 1)], Listening())
    assert [(part.phase.name, part.space) for part in parts.all] == [("whole", None)]
    assert not list(tmp_path.iterdir())
