"""How to train: the guide's numbers, each of which may be set. LINE B step 2."""

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

import msgspec

from contract.errors import InvalidRequest

SHORT = reprlib.Repr()  # what came is named in messages, but never whole
SHORT.maxstring = SHORT.maxother = 60


class Preprocessing(StrEnum):
    """What the model does to uint8 pixels first: the backbone's own `preprocess_input`, or the guide's 1/255."""

    OWN = "own"
    RESCALE = "rescale"


class Pooling(StrEnum):
    """How the backbone's feature map becomes a vector."""

    FLATTEN = "flatten"
    AVERAGE = "average"


class Keep(StrEnum):
    """Which epoch's weights a version has: the last one's, or those of the lowest loss on the tune bucket."""

    LAST = "last"
    BEST = "best"


NAMES = ("best", "guide")


class Goal(StrEnum):
    """What a threshold is chosen by."""

    ACCURACY = "accuracy"
    F1 = "f1"
    COST = "cost"
    RECALL = "recall_at_precision"


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the guide's, those of `best` are `BEST`'s; every number may be set.

    Attributes:
        name: `guide` does what the Keras guide says; `best` looks for the best network that it can find.
        backbone: a Keras Applications name (`MobileNetV2`, `VGG16`, ...) or `Compact`; None chooses MobileNetV2, and
            Compact where its ImageNet weights cannot be had.
        alpha: width multiplier of the MobileNets; None is the backbone's own default.
        weights: `auto`, `imagenet`, `none`, or the path of a weights file.
        image_size: side of the square input in pixels, 32-1024; None is the backbone's own default.
        preprocessing: inside the model, before the backbone.
        pooling: `flatten` or `average`.
        dense_units: width of the hidden Dense layer.
        head_epochs: epochs with the backbone frozen; `best` fits a linear probe in their place.
        tail_layers: how many of the backbone's last layers are unfrozen afterwards; None (`best` only) tries several.
        tail_epochs: epochs with them unfrozen. A network trained whole runs head_epochs + tail_epochs.
        batch_size: images per step.
        learning_rate: Adam's, in both phases; in `best` the highest one.
        keep: whose weights the version has: the `last` epoch's, as in the guide, or the `best` one's, by tune loss.
        threshold: P(`classes[1]`) from which the answer is `classes[1]`; None chooses it by `goal`.
        seed: of initial weights and of the order of images.
        views: seeded variations of each image to learn from: itself, its mirror, crops; `guide` has no other one.
        calibrate: scale the logits by the calibrate bucket, so that probabilities come true.
        goal: `accuracy`, `f1`, `cost`, or `recall_at_precision`: the highest recall that is precise enough.
        false_positive_cost, false_negative_cost: for `cost`; only their ratio matters. Positive is `classes[1]`.
        least_precision: for `recall_at_precision`.
    """

    name: str = "guide"
    backbone: str | None = None
    alpha: float | None = None
    weights: str = "auto"
    image_size: int | None = None
    preprocessing: Preprocessing = Preprocessing.OWN
    pooling: Pooling = Pooling.FLATTEN
    dense_units: int = 256
    head_epochs: int = 5
    tail_layers: int | None = 4
    tail_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    keep: Keep = Keep.LAST
    threshold: float | None = 0.5
    seed: int = 42
    views: int = 1
    calibrate: bool = False
    goal: Goal = Goal.ACCURACY
    false_positive_cost: float = 1.0
    false_negative_cost: float = 1.0
    least_precision: float = 0.9

    def __post_init__(self) -> None:
        check(self.name in NAMES, "recipe.name", self.name, " or ".join(f"`{name}`" for name in NAMES))
        guide = self.name == "guide"
        check(self.alpha is None or 0 < self.alpha <= 4, "recipe.alpha", self.alpha, "a number in (0, 4]")
        check(
            self.image_size is None or 32 <= self.image_size <= 1024,
            "recipe.image_size",
            self.image_size,
            "32 to 1024 pixels",
        )
        check(1 <= self.dense_units <= 8192, "recipe.dense_units", self.dense_units, "1 to 8192")
        check(0 <= self.head_epochs <= 1000, "recipe.head_epochs", self.head_epochs, "0 to 1000")
        check(0 <= self.tail_epochs <= 1000, "recipe.tail_epochs", self.tail_epochs, "0 to 1000")
        check(self.head_epochs + self.tail_epochs > 0, "recipe.head_epochs + tail_epochs", 0, "at least 1")
        layers = 0 if self.tail_layers is None else self.tail_layers
        check((not guide and not layers) or 1 <= layers <= 10_000, "recipe.tail_layers", self.tail_layers, "1 to 10000")
        check(1 <= self.batch_size <= 1024, "recipe.batch_size", self.batch_size, "1 to 1024")
        check(0 < self.learning_rate <= 1, "recipe.learning_rate", self.learning_rate, "a number in (0, 1]")
        check(
            self.threshold is None or 0 < self.threshold < 1, "recipe.threshold", self.threshold, "a number in (0, 1)"
        )
        check(0 <= self.seed < 2**31, "recipe.seed", self.seed, "0 to 2147483647")
        check(1 <= self.views <= (1 if guide else 16), "recipe.views", self.views, "1, or up to 16 with `best`")
        for sign, cost in (("positive", self.false_positive_cost), ("negative", self.false_negative_cost)):
            check(0 < cost <= 1e6, f"recipe.false_{sign}_cost", cost, "a number in (0, 1000000]")
        check(0 < self.least_precision <= 1, "recipe.least_precision", self.least_precision, "a number in (0, 1]")
        check(guide or self.dense_units > 1, "recipe.dense_units", self.dense_units, "at least 2 with `best`")


def change_recipe(base: Recipe, changes: Mapping[str, object]) -> Recipe:
    """Return `base`, or the recipe that `changes` name, with some fields changed.

    Raises:
        InvalidRequest: a field that recipes do not have, of another type, or out of its range.
    """
    known = asdict(base)
    if changes.get("name", base.name) in RECIPES.keys() - {base.name}:  # what was set of the other recipe stays set
        known = asdict(RECIPES[str(changes["name"])]) | {
            name: value for name, value in known.items() if value != getattr(RECIPES[base.name], name)
        }
    for name in changes:
        check(name in known, "a recipe field", name, f"one of {', '.join(known)}")
    try:
        return msgspec.convert({**known, **changes}, Recipe)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The recipe cannot be used: {error}.") from error


def check(good: bool, name: str, value: object, wanted: str) -> None:
    """Raise InvalidRequest that names what is wrong, its value and what was wanted, unless it is `good`."""
    if not good:
        raise InvalidRequest(f"{name} is {SHORT.repr(value)}; expected {wanted}.")


BEST = Recipe(
    name="best",
    pooling=Pooling.AVERAGE,
    head_epochs=0,
    tail_layers=None,
    tail_epochs=15,
    learning_rate=5e-4,
    keep=Keep.BEST,
    threshold=None,
    calibrate=True,
    views=4,
)
RECIPES = {"best": BEST, "guide": Recipe()}
