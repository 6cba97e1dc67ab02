"""Which training a recipe asks for, of which part of the network, and how much of it fits. LINE B, cache.

`guide`, and whatever has no pretrained weights, is trained in phases; `best` with pretrained weights in arms.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.artifact import Manifest
from contract.recipe import Recipe
from contract.training import Calibration
from retrain import calibration
from retrain.dataset import Dataset, LabelledImages
from retrain.evaluation import Probabilities
from retrain.features import FeatureCache
from retrain.keras_batches import Batches
from retrain.keras_best import BestTraining
from retrain.keras_epochs import Listener
from retrain.keras_features import Counting, Parts
from retrain.keras_live import read_live
from retrain.keras_network import Built
from retrain.keras_phases import Phase, depth_of, plan
from retrain.keras_training import Trained, Training

SHARES = (0.1, 0.25)  # of the multiply-adds that learn, an arm each


class Course:
    """One network's training on one data set, from the cache to its answers.

    Args:
        recipe, built: what is trained.
        cache: None caches nothing.
        dataset: all of it.
        live: the folder and manifest of the live version, from whose weights `best` tries to go on.

    Raises:
        NothingToTrain: the backbone has no weight that could be unfrozen.
    """

    def __init__(
        self,
        recipe: Recipe,
        built: Built,
        cache: FeatureCache | None,
        dataset: Dataset,
        live: tuple[Path, Manifest] | None = None,
    ) -> None:
        self._built = built
        self._dataset = dataset
        self._arms = recipe.name == "best" and built.start.pretrained
        self._recipe, self._depths, self._parts = self._fit_into(cache, recipe)
        self._live = read_live(built, self._depths[-1], *live) if self._arms and live else None
        self._training: Training | BestTraining | None = None

    @property
    def notes(self) -> list[str]:
        """What a person should know of it, in words."""
        return self._parts.notes

    def fill(self, listener: Counting) -> None:
        """Compute what the frozen layers make of images that the cache does not have."""
        dataset, views = self._dataset, self._recipe.views
        learnt = [(dataset.train, views), (dataset.tune, views)]
        self._parts.fill([*learnt, (dataset.calibrate, 1), (dataset.holdout, 1)], listener)

    def train(self, listener: Listener) -> Trained:
        """Train."""
        if self._arms:
            self._training = BestTraining(self._recipe, self._built, self._parts, self._depths, listener, self._live)
        else:
            self._training = Training(self._recipe, self._built, self._parts, listener)
        return self._training.run(self._dataset.train, self._dataset.tune)

    def calibrate(self) -> Calibration:
        """Put what the calibrate bucket says into the last layer's weights."""
        images = self._dataset.calibrate
        found = calibration.fit(images.labels, self.predict(images))
        output = self._built.head[-1]
        output.kernel.assign(found.scale * output.kernel.numpy())
        output.bias.assign(found.scale * output.bias.numpy() + found.shift)
        return found

    def predict(self, images: LabelledImages) -> Probabilities:
        """The network's answers: (N,) float32."""
        part = self._parts.all[-1]
        if not len(images):
            return np.empty(0, np.float32)
        answers = part.model.predict(Batches(part, images, self._recipe.batch_size), verbose=0)
        return np.asarray(answers, np.float32)[:, 0]

    def features(self, images: LabelledImages, views: int = 1) -> NDArray[np.float32]:
        """What the head is given of a frozen backbone, of so many views of each image: (V, N, F) float32."""
        return self._parts.features(images, views)

    def ask_probe(self, images: LabelledImages) -> Probabilities | None:
        """The linear probe's answers: (N,) float32; None where there is none."""
        return self._training.ask_probe(images) if isinstance(self._training, BestTraining) else None

    def _fit_into(self, cache: FeatureCache | None, recipe: Recipe) -> tuple[Recipe, tuple[int, ...], Parts]:
        """The recipe with as many depths and views as the cache has room for."""
        if not self._arms:
            return recipe, (), self._open(recipe, plan(recipe, self._built.start.pretrained), cache)
        depths = _depths(recipe, self._built)
        phases = (Phase("head", 1, 0), Phase("tail", 1, recipe.tail_epochs))
        smaller = [(depths, recipe.views), (depths[:1], recipe.views), (depths[:1], 1)]
        for tried, views in dict.fromkeys(smaller):
            fitted = replace(recipe, tail_layers=tried[-1], views=views)
            parts = self._open(fitted, phases, cache)
            if cache is None or parts.all[-1].space is not None:
                break
        if (tried, views) != smaller[0]:
            parts.notes.append(
                f"For want of room for activations {views} of {recipe.views} views of each image are learnt from, and "
                f"the last {tried[-1]} of {depths[-1]} layers that could learn do."
            )
        return fitted, tried, parts

    def _open(self, recipe: Recipe, phases: tuple[Phase, ...], cache: FeatureCache | None) -> Parts:
        dataset = self._dataset
        learnt, asked = len(dataset.train) + len(dataset.tune), len(dataset.calibrate) + len(dataset.holdout)
        return Parts(recipe, self._built, cache, recipe.views * learnt + asked, phases)


def _depths(recipe: Recipe, built: Built) -> tuple[int, ...]:
    """How many layers learn in each arm, from the fewest."""
    if recipe.tail_layers is not None:
        return (recipe.tail_layers,)
    return tuple(sorted({depth_of(built.start.layers, share) for share in SHARES}))
