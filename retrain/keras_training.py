"""The guide's recipe: train the head on the frozen backbone, unfreeze the last layers, recompile, train on. LINE B.

Source: the Keras guide "Transfer learning & fine-tuning", with two of its traps closed. BatchNormalization is frozen
layer by layer, because `trainable = True` on the backbone lets its statistics move even under `training=False`
(measured: by 0.16 in 2 epochs). And a slice without a weight, as the last 4 layers of InceptionV3, is extended.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from contract.artifact import Network
from contract.errors import NothingToTrain
from contract.recipe import Keep, Recipe
from contract.records import Epoch
from retrain.dataset import LabelledImages
from retrain.evaluation import Probabilities
from retrain.keras_network import Built
from retrain.progress import Moment


class Listener(Protocol):
    """Hears of every step and every epoch's end; what it raises ends the training."""

    def moment(self, moment: Moment) -> None: ...

    def epoch(self, epoch: Epoch, moment: Moment) -> None: ...


@dataclass(frozen=True)
class Trained:
    """A trained network, what was trained of it, and how its epochs went."""

    model: keras.Model
    network: Network
    history: tuple[Epoch, ...]
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Phase:
    """Some epochs with the same layers frozen: `head`, `tail`, or `whole`; `first` epoch counts from 1."""

    name: str
    first: int
    epochs: int


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


class Training:
    """One training of one network on one data set."""

    def __init__(self, recipe: Recipe, built: Built, listener: Listener) -> None:
        self._recipe = recipe
        self._built = built
        self._listener = listener
        self._history: list[Epoch] = []
        self._kept = Kept()

    def run(self, train: LabelledImages, tune: LabelledImages) -> Trained:
        """Run all phases; validate on `tune` at every epoch where it has images; `recipe.keep` says what is kept.

        Raises:
            NothingToTrain: the backbone has no weight that could be unfrozen.
        """
        started_s = time.monotonic()
        unfrozen: tuple[str, ...] = ()
        said: list[str] = []
        for phase in plan(self._recipe, self._built.start.pretrained):
            if phase.name == "head":
                self._built.start.layers.trainable = False
            if phase.name == "tail":
                unfrozen, note = unfreeze_tail(self._built.start.layers, self._recipe.tail_layers)
                said += note
            self._fit(phase, train, tune)
        self._kept.restore()
        model = self._built.model
        network = Network(
            backbone=self._built.start.backbone.name,
            weights=self._built.start.weights,
            trainable_parameters=_count(model.trainable_weights),
            total_parameters=_count(model.weights),
            unfrozen_layers=unfrozen,
            kept_epoch=self._kept.epoch or len(self._history),
        )
        return Trained(model, network, tuple(self._history), time.monotonic() - started_s, tuple(said))

    def _fit(self, phase: Phase, train: LabelledImages, tune: LabelledImages) -> None:
        recipe, model = self._recipe, self._built.model
        keras.utils.set_random_seed(recipe.seed + phase.first)  # the order of images
        model.compile(
            optimizer=keras.optimizers.Adam(recipe.learning_rate),
            loss="binary_crossentropy",
            metrics=["accuracy"],
            jit_compile=False,  # Keras' `auto` is XLA: 4 times slower here, compilation included
        )
        model.fit(
            train.pixels,
            train.labels.astype(np.float32),
            batch_size=recipe.batch_size,
            epochs=phase.epochs,
            validation_data=(tune.pixels, tune.labels.astype(np.float32)) if len(tune) else None,
            callbacks=[self._callback(phase, -(-len(train) // recipe.batch_size))],
            verbose=0,
        )

    def _callback(self, phase: Phase, steps: int) -> keras.callbacks.Callback:
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
            epoch = _epoch(number, phase.name, logs, now_s - clock[0])
            clock[0] = now_s
            self._history.append(epoch)
            if self._recipe.keep is Keep.BEST:
                self._kept.offer(epoch, self._built.model)
            self._listener.epoch(epoch, Moment(number, epochs, number / epochs))

        return keras.callbacks.LambdaCallback(on_train_batch_end=_step, on_epoch_end=_end)


def plan(recipe: Recipe, pretrained: bool) -> tuple[Phase, ...]:
    """The recipe's phases: head, then tail; or the whole network at once where there is nothing to keep frozen."""
    if not pretrained:
        return (Phase("whole", 1, recipe.head_epochs + recipe.tail_epochs),)
    phases = (Phase("head", 1, recipe.head_epochs), Phase("tail", 1 + recipe.head_epochs, recipe.tail_epochs))
    return tuple(phase for phase in phases if phase.epochs)


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


def predict(model: keras.Model, images: LabelledImages, batch_size: int = 32) -> Probabilities:
    """The network's own answers, (N,) float32."""
    return np.asarray(model.predict(images.pixels, batch_size=batch_size, verbose=0), np.float32)[:, 0]


def save(model: keras.Model, path: str) -> None:
    """Write the `.keras` file. A fresh `Model` over the same layers was never compiled: no optimizer state."""
    keras.Model(model.inputs, model.outputs, name=model.name).save(path)


def _with_inner(layer: keras.Layer) -> Iterator[keras.Layer]:
    yield layer
    for inner in getattr(layer, "layers", []):
        yield from _with_inner(inner)


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
