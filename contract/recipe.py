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


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the guide's; every number may be set.

    Attributes:
        name: `guide`.
        backbone: a Keras Applications name (`MobileNetV2`, `VGG16`, ...) or `Compact`; None chooses MobileNetV2, and
            Compact where its ImageNet weights cannot be had.
        alpha: width multiplier of the MobileNets; None is the backbone's own default.
        weights: `auto`, `imagenet`, `none`, or the path of a weights file.
        image_size: side of the square input in pixels, 32-1024; None is the backbone's own default.
        preprocessing: inside the model, before the backbone.
        pooling: `flatten` or `average`.
        dense_units: width of the hidden Dense layer.
        head_epochs: epochs with the backbone frozen.
        tail_layers: how many of the backbone's last layers are unfrozen afterwards.
        tail_epochs: epochs with them unfrozen. A network trained whole runs head_epochs + tail_epochs.
        batch_size: images per step.
        learning_rate: Adam's, in both phases.
        keep: whose weights the version has: the `last` epoch's, as in the guide, or the `best` one's, by tune loss.
        threshold: P(`classes[1]`) from which the answer is `classes[1]`.
        seed: of initial weights and of the order of images.
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
    tail_layers: int = 4
    tail_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    keep: Keep = Keep.LAST
    threshold: float = 0.5
    seed: int = 42

    def __post_init__(self) -> None:
        check(self.name == "guide", "recipe.name", self.name, "`guide`")
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
        check(1 <= self.tail_layers <= 10_000, "recipe.tail_layers", self.tail_layers, "1 to 10000")
        check(1 <= self.batch_size <= 1024, "recipe.batch_size", self.batch_size, "1 to 1024")
        check(0 < self.learning_rate <= 1, "recipe.learning_rate", self.learning_rate, "a number in (0, 1]")
        check(0 < self.threshold < 1, "recipe.threshold", self.threshold, "a number in (0, 1)")
        check(0 <= self.seed < 2**31, "recipe.seed", self.seed, "0 to 2147483647")


def change_recipe(base: Recipe, changes: Mapping[str, object]) -> Recipe:
    """Return `base` with some fields changed.

    Raises:
        InvalidRequest: a field that recipes do not have, of another type, or out of its range.
    """
    known = asdict(base)
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
