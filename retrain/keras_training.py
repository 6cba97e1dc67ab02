"""The guide's training: its phases one after the other, each on what its frozen layers gave. LINE B, train."""

import time
from dataclasses import dataclass

import keras
import numpy as np

from contract.artifact import Network
from contract.recipe import Keep, Recipe
from contract.training import Epoch, Suspect, Trial
from retrain.dataset import LabelledImages
from retrain.keras_batches import Batches, Shuffled
from retrain.keras_epochs import Journal, Kept, Listener
from retrain.keras_features import Part, Parts
from retrain.keras_network import Built
from retrain.keras_phases import release


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: (N, H, W, 3) uint8 -> (N, 1) float32.
        network: what was trained of it.
        history: its epochs.
        seconds: what it took, with the frozen layers' part.
        trials: what it was chosen among; none where nothing was.
        suspects: images whose label looks wrong, where a probe was fitted.
    """

    model: keras.Model
    network: Network
    history: tuple[Epoch, ...]
    seconds: float
    trials: tuple[Trial, ...] = ()
    suspects: tuple[Suspect, ...] = ()


class Training:
    """One training of one network on one data set, whose activations `parts` have."""

    def __init__(self, recipe: Recipe, built: Built, parts: Parts, listener: Listener) -> None:
        self._recipe = recipe
        self._built = built
        self._parts = parts
        self._journal = Journal(listener, recipe.head_epochs + recipe.tail_epochs)
        self._kept = Kept()

    def run(self, train: LabelledImages, tune: LabelledImages) -> Trained:
        """Run all phases; validate on `tune` at every epoch where it has images; `recipe.keep` says what is kept."""
        started_s = time.monotonic()
        for part in self._parts.all:
            self._fit(part, train, tune)
        self._kept.restore()
        history = tuple(self._journal.history)
        network = describe(self._built, self._parts.all[-1].unfrozen, self._kept.epoch or len(history))
        return Trained(self._built.model, network, history, self._parts.seconds + time.monotonic() - started_s)

    def _fit(self, part: Part, train: LabelledImages, tune: LabelledImages) -> None:
        recipe, phase = self._recipe, part.phase
        release(phase, recipe, self._built.start.layers)
        keras.utils.set_random_seed(recipe.seed + phase.first)  # of dropout
        part.model.compile(
            optimizer=keras.optimizers.Adam(recipe.learning_rate),
            loss="binary_crossentropy",
            metrics=["accuracy"],
            jit_compile=False,  # Keras' `auto` is XLA: 4 times slower here, compilation included
        )
        batches = Shuffled(part, train, recipe.batch_size, seed=recipe.seed + phase.first, views=recipe.views)
        part.model.fit(
            batches,
            epochs=phase.epochs,
            validation_data=Batches(part, tune, recipe.batch_size) if len(tune) else None,
            callbacks=[self._journal.callback(phase.name, len(batches), self._keep)],
            verbose=0,
        )

    def _keep(self, epoch: Epoch) -> None:
        if self._recipe.keep is Keep.BEST:
            self._kept.offer(epoch, self._built.model)


def describe(built: Built, unfrozen: tuple[str, ...], kept_epoch: int) -> Network:
    """What was trained."""
    return Network(
        backbone=built.start.backbone.name,
        weights=built.start.weights,
        trainable_parameters=_count(built.model.trainable_weights),
        total_parameters=_count(built.model.weights),
        unfrozen_layers=unfrozen,
        kept_epoch=kept_epoch,
    )


def save(model: keras.Model, path: str) -> None:
    """Write the `.keras` file. A fresh `Model` over the same layers was never compiled: no optimizer state."""
    keras.Model(model.inputs, model.outputs, name=model.name).save(path)


def _count(weights: list[keras.Variable]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)
