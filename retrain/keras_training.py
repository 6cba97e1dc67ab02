"""One training: its phases one after the other, each on what its frozen layers gave, and the epoch kept. LINE B."""

import math
import time
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from contract.artifact import Network
from contract.recipe import Keep, Recipe
from contract.records import Epoch
from retrain.dataset import LabelledImages
from retrain.evaluation import Probabilities
from retrain.keras_features import Inputs, Part, Parts
from retrain.keras_network import Built
from retrain.keras_phases import release
from retrain.progress import Moment


class Listener(Protocol):
    """Hears of every step and every epoch's end; what it raises ends the training."""

    def moment(self, moment: Moment) -> None: ...

    def epoch(self, epoch: Epoch, moment: Moment) -> None: ...


@dataclass(frozen=True)
class Trained:
    """A trained network, what was trained of it, how its epochs went, and what it took with the frozen layers' part."""

    model: keras.Model
    network: Network
    history: tuple[Epoch, ...]
    seconds: float


class Kept:
    """The weights of the epoch with the lowest tune loss so far.

    The guide's learning rate is high for unfrozen layers, so its last epoch is a draw: on 427 photos of cats and dogs
    one was right on 0.80 of the hold-out, while the kept ones of three such runs were right on 0.92 to 0.96.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self._loss = math.inf
        self._values: list[tuple[keras.Variable, NDArray[np.float32]]] = []

    def offer(self, epoch: Epoch, model: keras.Model) -> None:
        """Take over the model's present weights if the epoch was better; without validation the last ones stay."""
        if epoch.validation_loss is None or not epoch.validation_loss < self._loss:
            return
        self.epoch, self._loss = epoch.epoch, epoch.validation_loss
        self._values = [(weight, weight.numpy()) for weight in model.weights]

    def restore(self) -> None:
        """Put the kept weights back."""
        for weight, value in self._values:
            weight.assign(value)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """One bucket for one part, a batch at a time; in an order of its own at every epoch where there is a seed."""

    def __init__(self, part: Part, images: LabelledImages, batch_size: int, seed: int | None) -> None:
        super().__init__()
        self._part = part
        self._images = images
        self._labels = images.labels.astype(np.float32)[:, None]  # (N, 1) float32
        self._batch_size = batch_size
        self._random = None if seed is None else np.random.default_rng(seed)
        self._order = np.arange(len(images))
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self._images) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs, NDArray[np.float32]]:
        rows = self._order[index * self._batch_size :][: self._batch_size]
        return self._part.read(self._images, rows), self._labels[rows]

    def on_epoch_end(self) -> None:
        """Shuffle."""
        if self._random is not None:
            self._random.shuffle(self._order)


class Training:
    """One training of one network on one data set, whose activations `parts` have."""

    def __init__(self, recipe: Recipe, built: Built, parts: Parts, listener: Listener) -> None:
        self._recipe = recipe
        self._built = built
        self._parts = parts
        self._listener = listener
        self._history: list[Epoch] = []
        self._kept = Kept()

    def run(self, train: LabelledImages, tune: LabelledImages) -> Trained:
        """Run all phases; validate on `tune` at every epoch where it has images; `recipe.keep` says what is kept."""
        started_s = time.monotonic()
        for part in self._parts.all:
            self._fit(part, train, tune)
        self._kept.restore()
        model = self._built.model
        network = Network(
            backbone=self._built.start.backbone.name,
            weights=self._built.start.weights,
            trainable_parameters=_count(model.trainable_weights),
            total_parameters=_count(model.weights),
            unfrozen_layers=self._parts.all[-1].unfrozen,
            kept_epoch=self._kept.epoch or len(self._history),
        )
        seconds = self._parts.seconds + time.monotonic() - started_s
        return Trained(model, network, tuple(self._history), seconds)

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
        part.model.fit(
            Batches(part, train, recipe.batch_size, recipe.seed + phase.first),
            epochs=phase.epochs,
            validation_data=Batches(part, tune, recipe.batch_size, None) if len(tune) else None,
            callbacks=[self._callback(part, -(-len(train) // recipe.batch_size))],
            verbose=0,
        )

    def _callback(self, part: Part, steps: int) -> keras.callbacks.Callback:
        """Pass Keras' events on; `steps` are an epoch's batches."""
        epochs = self._recipe.head_epochs + self._recipe.tail_epochs
        clock = [time.monotonic()]

        def moment(done: int) -> Moment:
            past = len(self._history)
            return Moment(past + 1, epochs, min(1.0, (past + done / steps) / epochs))

        def _step(batch: int, logs: dict[str, float]) -> None:  # noqa: ARG001  # Keras passes logs by name
            self._listener.moment(moment(batch + 1))

        def _end(_: int, logs: dict[str, float]) -> None:
            number = len(self._history) + 1
            now_s = time.monotonic()
            epoch = _epoch(number, part.phase.name, logs, now_s - clock[0])
            clock[0] = now_s
            self._history.append(epoch)
            if self._recipe.keep is Keep.BEST:
                self._kept.offer(epoch, self._built.model)
            self._listener.epoch(epoch, Moment(number, epochs, number / epochs))

        return keras.callbacks.LambdaCallback(on_train_batch_end=_step, on_epoch_end=_end)


def predict(parts: Parts, images: LabelledImages, batch_size: int = 32) -> Probabilities:
    """The trained network's own answers, (N,) float32."""
    part = parts.all[-1]
    return np.asarray(part.model.predict(Batches(part, images, batch_size, None), verbose=0), np.float32)[:, 0]


def save(model: keras.Model, path: str) -> None:
    """Write the `.keras` file. A fresh `Model` over the same layers was never compiled: no optimizer state."""
    keras.Model(model.inputs, model.outputs, name=model.name).save(path)


def _epoch(number: int, phase: str, logs: dict[str, float], seconds: float) -> Epoch:
    return Epoch(
        epoch=number,
        phase=phase,
        loss=float(logs["loss"]),
        accuracy=float(logs["accuracy"]),
        validation_loss=float(logs["val_loss"]) if "val_loss" in logs else None,
        validation_accuracy=float(logs["val_accuracy"]) if "val_accuracy" in logs else None,
        seconds=round(seconds, 3),
    )


def _count(weights: list[keras.Variable]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)
