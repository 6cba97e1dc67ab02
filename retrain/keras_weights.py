"""Where a backbone's first weights come from: ImageNet's through Keras' loader, a file, or none. LINE B, train."""

import contextlib
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.request import urlretrieve

import keras
from keras.src.utils import file_utils

from contract.artifact import digest_file
from contract.errors import RipenError, TrainingFailed, WeightsUnavailable
from contract.recipe import Recipe
from retrain.keras_backbones import COMPACT, DEFAULT, Backbone, find_backbone

AUTO_WAIT_S = 20.0
EXPLICIT_WAIT_S = 900.0
PART = ".ripen-part"
ABANDONED_S = 3600.0  # a part that nobody wrote to for so long is a killed job's
FROM_SCRATCH = "training from scratch: all of the network's weights start at random, which takes many images."
HOW = (
    "Supply them: set KERAS_HOME to a folder that holds Keras' models/ cache, give the path of a weights file as "
    "recipe.weights, or train from scratch with recipe.weights `none`."
)


@dataclass(frozen=True)
class StartingPoint:
    """A built backbone and where its weights came from.

    Attributes:
        backbone: the catalogue's entry; not always the recipe's, see `find_start`.
        layers: the built network without its head.
        weights: `imagenet`, `none`, or the sha256 of a weights file.
        size: side of its input in pixels.
        warnings: what a person should know, in words.
    """

    backbone: Backbone
    layers: keras.Model
    weights: str
    size: int
    warnings: tuple[str, ...] = ()

    @property
    def pretrained(self) -> bool:
        return self.weights != "none"


class Fetch(Protocol):
    """Run a builder that may download, for at most `wait_s` seconds; WeightsUnavailable where it cannot."""

    def __call__(self, build: Callable[[], keras.Model], *, wait_s: float, name: str) -> keras.Model: ...


def fetch_imagenet(build: Callable[[], keras.Model], *, wait_s: float, name: str) -> keras.Model:
    """Run a builder that may download, for at most `wait_s` seconds; a slower download goes on for the next job.

    Raises:
        WeightsUnavailable: it failed or took longer; says why.
    """
    file_utils.urlretrieve = download_whole  # Keras offers no setting for it
    done: list[keras.Model] = []
    failure: list[Exception] = []

    def run() -> None:
        keras.config.disable_interactive_logging()  # it is per thread
        try:
            done.append(build())
        except Exception as error:  # Keras raises bare Exception when a download fails
            failure.append(error)

    thread = threading.Thread(target=run, name="imagenet weights", daemon=True)
    thread.start()
    thread.join(wait_s)
    if done:
        return done[0]
    if failure and isinstance(failure[0], RipenError):
        raise failure[0]
    why = _first_line(failure[0]) if failure else f"no answer within {wait_s:.0f} s"
    raise WeightsUnavailable(f"The ImageNet weights of {name} cannot be had ({why}). {HOW}")


def download_whole(url: str, target: str, report: Callable[[int, int, int], object] | None = None) -> None:
    """`urlretrieve` for Keras, but a file has its final name only when it is whole.

    Keras downloads straight to the final name in its cache and trusts what it finds there: the part that a killed job
    left would be loaded, and fail, for ever.
    """
    for part in Path(target).parent.glob(f"*{PART}"):
        with contextlib.suppress(FileNotFoundError):  # another job's may become whole just now
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink()
    part = Path(f"{target}.{uuid.uuid4().hex}{PART}")
    try:
        urlretrieve(url, part, report)  # noqa: S310  # the address is Keras' own
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def find_start(recipe: Recipe, fetch: Fetch = fetch_imagenet) -> StartingPoint:
    """Build the recipe's backbone with its weights.

    Where the recipe names no backbone and ImageNet's weights cannot be had, the answer is Compact from scratch:
    frozen random weights are no base (measured: exactly 0.50), and the big networks learn nothing from a few hundred
    images either.

    Args:
        recipe: names the backbone and its weights.
        fetch: what runs a builder that may download.

    Raises:
        WeightsUnavailable: a named backbone, or explicitly wanted weights, cannot be had.
        TrainingFailed: the recipe does not fit the backbone.
    """
    if recipe.backbone is None and recipe.weights == "none":
        recipe = replace(recipe, backbone=COMPACT, alpha=None)
    backbone = find_backbone(recipe.backbone or DEFAULT)
    size = recipe.image_size or backbone.default_size
    if recipe.weights == "none" or (recipe.weights == "auto" and backbone.name == COMPACT):
        return _from_scratch(recipe, backbone, size)
    if recipe.weights not in ("auto", "imagenet"):
        return _from_file(recipe, backbone, size)
    try:
        return _from_imagenet(recipe, backbone, size, fetch)
    except WeightsUnavailable as error:
        _random(recipe, backbone, size)  # it may be the recipe: Keras calls a wrong size and no network both an error
        if recipe.backbone is not None or recipe.weights == "imagenet":
            raise
        return _compact_instead(recipe, str(error))


def _from_imagenet(recipe: Recipe, backbone: Backbone, size: int, fetch: Fetch) -> StartingPoint:
    if backbone.name == COMPACT:
        raise WeightsUnavailable(f"Nobody has trained {COMPACT} on ImageNet; use recipe.weights `auto` or `none`.")
    with warnings.catch_warnings(record=True) as caught:  # for example: weights of another input size
        warnings.simplefilter("always")
        layers = fetch(
            lambda: backbone.create(size, alpha=recipe.alpha, weights="imagenet", preprocessing=recipe.preprocessing),
            wait_s=AUTO_WAIT_S if recipe.weights == "auto" and recipe.backbone is None else EXPLICIT_WAIT_S,
            name=backbone.name,
        )
    said = [_first_line(warning.message) for warning in caught if warning.category is UserWarning]
    return StartingPoint(backbone, layers, "imagenet", size, tuple(said))


def _from_file(recipe: Recipe, backbone: Backbone, size: int) -> StartingPoint:
    path = Path(recipe.weights).expanduser()
    layers = _random(recipe, backbone, size)
    try:
        digest = digest_file(path)
        layers.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsUnavailable(
            f"recipe.weights is {recipe.weights!r}, which cannot be loaded into {backbone.name} without its top "
            f"({_first_line(error)}); expected `auto`, `imagenet`, `none`, or the path of such an .h5 file."
        ) from error
    return StartingPoint(backbone, layers, digest, size)


def _from_scratch(recipe: Recipe, backbone: Backbone, size: int) -> StartingPoint:
    said = () if backbone.name == COMPACT else (f"{backbone.name}: {FROM_SCRATCH}",)
    return StartingPoint(backbone, _random(recipe, backbone, size), "none", size, said)


def _compact_instead(recipe: Recipe, why: str) -> StartingPoint:
    backbone = find_backbone(COMPACT)
    size = recipe.image_size or backbone.default_size
    said = f"{why} This time {COMPACT}, a small network of our own, was trained from scratch instead of {DEFAULT}."
    return StartingPoint(backbone, _random(replace(recipe, alpha=None), backbone, size), "none", size, (said,))


def _random(recipe: Recipe, backbone: Backbone, size: int) -> keras.Model:
    keras.utils.set_random_seed(recipe.seed)
    try:
        return backbone.create(size, alpha=recipe.alpha, weights=None, preprocessing=recipe.preprocessing)
    except ValueError as error:
        raise TrainingFailed(f"{backbone.name} cannot be built for this recipe: {_first_line(error)}") from error


def _first_line(message: object) -> str:
    return (str(message).strip() or type(message).__name__).splitlines()[0].rstrip(". ")
