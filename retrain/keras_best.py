"""The recipe `best`: a linear probe to start from and to beat, the tail from several starts, and the mean of both ends.

LINE B, train. All of it on cached activations of a few views of each image, so that an arm takes seconds, not minutes.
1. probe: logistic regression on the pooled features, fitted to its optimum; its weights are the head's first ones.
2. arms: the tail unfrozen at several depths, from ImageNet's weights and from the live version's, each pulled towards
   where it began (L2-SP), at a rate that warms up and falls; the running mean of its weights is what counts.
3. choice: a quarter of the way between the two ends of the deepest arm (WiSE), unless a large tune bucket clearly
   prefers another trial; a small one cannot choose, and no other arm is trained.
4. the chosen arm once more with train and tune together.
Source: Kumar et al. 2022 (LP-FT), Li et al. 2018 (L2-SP), Wortsman et al. 2022 (WiSE-FT).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
from numpy.typing import NDArray

from contract.recipe import Recipe
from contract.training import Epoch, Trial
from retrain import probe
from retrain.dataset import LabelledImages, join
from retrain.evaluation import Probabilities, log_losses
from retrain.keras_batches import Batches, Shuffled, prior_log_odds
from retrain.keras_epochs import Journal, Kept, Listener
from retrain.keras_features import Parts
from retrain.keras_network import Built
from retrain.keras_phases import unfreeze_tail
from retrain.keras_training import Trained, describe
from retrain.label_errors import find_suspects
from retrain.probe import Probe

TAIL_PULL, HEAD_PULL = 0.01, 1.0  # L2-SP: the head starts at an optimum, the tail does not
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way from an arm's start to its end
USUAL_SHARE = 0.25  # four-fold on 600 photos: log-loss 0.149 at the probe, 0.133 here and half way, 0.144 at the end
ERRORS = 2  # standard errors by which another trial must be better
WARM_UP = 0.1  # of all steps
LEAST_RATE = 0.1  # of the highest one, at the end
MEMORY_EPOCHS = 2  # how far back the running mean of the weights reaches
PATIENCE = 6  # epochs without a better tune loss
LEAST_TUNE = 200  # images from which on anything is chosen by them; see docs/decisions.md
SAFE = 1e-7

Values = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Arm:
    """One start: what it is called, how many of the backbone's last layers learn, and how the weights get there."""

    name: str
    depth: int
    begin: Callable[[], None]


@dataclass(frozen=True)
class Finished:
    """An arm after its epochs: its weights before and after, and the epochs that led there."""

    arm: Arm
    start: Values
    end: Values
    epochs: int


@dataclass(frozen=True)
class Tried:
    """A trial, its loss for each tune image, (N,) in nats, and whether it is the one where none is clearly better."""

    trial: Trial
    losses: NDArray[np.float64]
    usual: bool


class BestTraining:
    """One training by the recipe `best`.

    Args:
        parts: the head's features and the tail's activations, of `recipe.views` views of train and tune.
        depths: how many of the last layers learn, an arm each; none deeper than the tail's cut.
        live: the live version's weights in this very network, if it has them.
    """

    def __init__(
        self, recipe: Recipe, built: Built, parts: Parts, depths: Sequence[int], listener: Listener, live: Values | None
    ) -> None:
        self._recipe = recipe
        self._built = built
        self._tail = parts.all[-1]
        self._parts = parts
        self._depths = depths
        self._live = live
        self._imagenet = _values(built.model)
        self._journal = Journal(listener, recipe.tail_epochs)
        self._kept = Kept()
        self.probe: Probe | None = None

    def run(self, train: LabelledImages, tune: LabelledImages) -> Trained:
        """Train.

        Args:
            train: of both classes.
            tune: what is chosen by, if there are enough; few are trained on, and the usual trial is taken.
        """
        started_s = time.monotonic()
        trials: tuple[Trial, ...] = ()
        arm, share, epochs = self._usual, USUAL_SHARE, self._recipe.tail_epochs
        if len(tune) >= LEAST_TUNE:
            self.probe = self._fit_probe(train, probe.STRENGTHS)
            self._journal.plan(self._recipe.tail_epochs * len(self._arms()))
            tried = [(finished, self._try(finished, tune)) for finished in map(self._fitted(train, tune), self._arms())]
            trials = choose([one for _, each in tried for one in each])
            chosen = next(trial for trial in trials if trial.chosen)
            best = next(finished for finished, _ in tried if finished.arm.name == chosen.arm)
            arm, share, epochs = best.arm, chosen.share, best.epochs
        everything = join(train, tune)
        self.probe = self._fit_probe(everything, [self.probe.strength] if self.probe else probe.STRENGTHS)
        last = self._fit(arm, everything, None, epochs)
        _assign(self._built.model, _between(last, share))
        unfrozen, _ = unfreeze_tail(self._built.start.layers, arm.depth)
        network = describe(self._built, unfrozen, len(self._journal.history))
        seconds = self._parts.seconds + time.monotonic() - started_s
        suspects = find_suspects(everything, self.probe.out_of_fold)
        return Trained(self._built.model, network, tuple(self._journal.history), seconds, trials, suspects)

    def ask_probe(self, images: LabelledImages) -> Probabilities:
        """What the linear probe, fitted to train and tune, answers: (N,) float32."""
        assert self.probe is not None
        return self.probe.predict(self._parts.features(images, 1)[0])

    # Arms
    @property
    def _usual(self) -> Arm:
        return next(arm for arm in self._arms() if arm.depth == self._depths[-1])

    def _arms(self) -> list[Arm]:
        """From the shallowest; the live version's last."""
        arms = [Arm(f"imagenet, last {depth} layers", depth, self._begin_at_imagenet) for depth in self._depths]
        if self._live is not None:
            arms.append(Arm(f"live version, last {self._depths[-1]} layers", self._depths[-1], self._begin_at_live))
        return arms

    def _begin_at_imagenet(self) -> None:
        _assign(self._built.model, self._imagenet)
        assert self.probe is not None
        begin_head(self._built, self.probe)

    def _begin_at_live(self) -> None:
        assert self._live is not None
        _assign(self._built.model, self._live)

    def _fitted(self, train: LabelledImages, tune: LabelledImages) -> Callable[[Arm], Finished]:
        return lambda arm: self._fit(arm, train, tune, self._recipe.tail_epochs)

    def _fit(self, arm: Arm, train: LabelledImages, tune: LabelledImages | None, epochs: int) -> Finished:
        """Train one arm; with `tune` until that is answered no better, and back to its best epoch."""
        arm.begin()
        unfreeze_tail(self._built.start.layers, arm.depth)
        start = _values(self._built.model)
        recipe, part = self._recipe, self._tail
        keras.utils.set_random_seed(recipe.seed)
        batches = Shuffled(part, train, recipe.batch_size, seed=recipe.seed, views=recipe.views, balanced=True)
        self._compile(part.model, epochs * len(batches), len(batches), prior_log_odds(train.labels))
        self._kept, before = Kept(), len(self._journal.history)
        validation = Batches(part, tune, recipe.batch_size, views=recipe.views) if tune else None
        stop = [keras.callbacks.EarlyStopping("val_nll", mode="min", patience=PATIENCE)] if tune else []
        tell = self._journal.callback(arm.name if tune else "train and tune", len(batches), self._keep)
        with _pulled(self._built):
            part.model.fit(
                batches,
                epochs=epochs,
                validation_data=validation,
                callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True), tell, *stop],
                verbose=0,
            )
        self._kept.restore()
        self._journal.plan(len(self._journal.history) - before - epochs)
        kept = (self._kept.epoch or len(self._journal.history)) - before
        return Finished(arm, start, _values(self._built.model), kept)

    def _compile(self, model: keras.Model, steps: int, epoch: int, offset: float) -> None:
        highest = self._recipe.learning_rate
        rate = keras.optimizers.schedules.CosineDecay(
            LEAST_RATE * highest, steps, alpha=LEAST_RATE, warmup_target=highest, warmup_steps=int(WARM_UP * steps)
        )
        momentum = 1 - 1 / max(2, MEMORY_EPOCHS * epoch)
        model.compile(
            optimizer=keras.optimizers.Adam(rate, global_clipnorm=1.0, use_ema=True, ema_momentum=momentum),
            loss=balanced_loss(offset),
            metrics=[keras.metrics.BinaryCrossentropy(name="nll"), keras.metrics.BinaryAccuracy(name="accuracy")],
            jit_compile=False,  # as in keras_training
        )

    def _keep(self, epoch: Epoch) -> None:
        self._kept.offer(epoch, self._built.model)

    def _try(self, finished: Finished, tune: LabelledImages) -> list[Tried]:
        """The losses of all views of the tune bucket between an arm's two ends."""
        batches = Batches(self._tail, tune, self._recipe.batch_size, views=self._recipe.views)
        tried = []
        for share in SHARES:
            _assign(self._built.model, _between(finished, share))
            answers = np.asarray(self._tail.model.predict(batches, verbose=0), np.float32)
            losses = log_losses(tune.labels, answers.reshape(self._recipe.views, len(tune))).mean(axis=0)
            trial = Trial(finished.arm.name, finished.arm.depth, share, float(losses.mean()))
            tried.append(Tried(trial, losses, usual=finished.arm == self._usual and share == USUAL_SHARE))
        return tried

    def _fit_probe(self, images: LabelledImages, strengths: Sequence[float]) -> Probe:
        features = self._parts.features(images, self._recipe.views)
        groups = [example.group_id for example in images.examples]
        return probe.fit(features, images.labels, groups, seed=self._recipe.seed, strengths=strengths)


def choose(tried: Sequence[Tried]) -> tuple[Trial, ...]:
    """Mark the usual trial, or the one with the lowest loss where that is lower by two standard errors.

    A few dozen images cannot tell dozens of networks apart: the lowest loss of all is mostly luck.
    Source: Breiman et al. 1984, the standard-error rule, here of the paired difference.
    """
    best = min(tried, key=lambda each: each.trial.loss)
    usual = next(each for each in tried if each.usual)
    gained = usual.losses - best.losses  # (N,) nats
    error = float(gained.std(ddof=1)) / math.sqrt(len(gained)) if len(gained) > 1 else math.inf
    chosen = best if gained.mean() > ERRORS * error else usual
    return tuple(replace(each.trial, chosen=each is chosen) for each in tried)


def begin_head(built: Built, fitted: Probe) -> None:
    """Make the head answer as the probe does: one hidden unit has its logit where that is positive, one its opposite.

    All other units begin at random, without a say.
    """
    hidden, output = built.head
    kernel, bias = hidden.kernel.numpy(), hidden.bias.numpy()
    kernel[:, 0], kernel[:, 1] = fitted.weights, -fitted.weights
    bias[:2] = fitted.bias, -fitted.bias
    say = np.zeros(output.kernel.shape, np.float32)
    say[:2, 0] = 1, -1
    for variable, value in ((hidden.kernel, kernel), (hidden.bias, bias), (output.kernel, say), (output.bias, [0.0])):
        variable.assign(value)


def balanced_loss(offset: float) -> Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]:
    """Cross-entropy for batches of which half are of either class, of a network that answers as for the real shares.

    Args:
        offset: ln of how many images are of `classes[1]` for one of `classes[0]`.

    Source: Menon et al. 2021, logit adjustment.
    """

    def loss(labels: keras.KerasTensor, answers: keras.KerasTensor) -> keras.KerasTensor:
        sure = keras.ops.clip(answers, SAFE, 1 - SAFE)
        logits = keras.ops.log(sure) - keras.ops.log1p(-sure) - offset
        return keras.losses.binary_crossentropy(labels, logits, from_logits=True)

    return loss


class Pull(keras.Regularizer):  # type: ignore[misc]  # Keras has no types
    """L2-SP: the squared distance from where a weight began. Source: Li et al. 2018."""

    def __init__(self, start: NDArray[np.float32], strength: float) -> None:
        self._start = start
        self._strength = strength

    def __call__(self, weight: keras.KerasTensor) -> keras.KerasTensor:
        return self._strength * keras.ops.sum(keras.ops.square(weight - self._start))


class _pulled:  # noqa: N801  # a context manager, used as a function
    """While it is open the weights that learn are pulled to where they are now."""

    def __init__(self, built: Built) -> None:
        self._tail = built.start.layers.trainable_weights
        self._head = [weight for layer in built.head for weight in layer.trainable_weights]

    def __enter__(self) -> None:
        for weights, strength in ((self._tail, TAIL_PULL), (self._head, HEAD_PULL)):
            for weight in weights:
                weight.regularizer = Pull(weight.numpy(), strength)

    def __exit__(self, *_: object) -> None:
        for weight in (*self._tail, *self._head):
            weight.regularizer = None


def _values(model: keras.Model) -> Values:
    return [weight.numpy() for weight in model.weights]


def _assign(model: keras.Model, values: Values) -> None:
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)


def _between(finished: Finished, share: float) -> Values:
    return [(1 - share) * start + share * end for start, end in zip(finished.start, finished.end, strict=True)]
