"""Images as Keras' `fit` takes them: what a part of the network gets of them, a batch at a time. LINE B, train."""

import math

import keras
import numpy as np
from numpy.typing import NDArray

from retrain.dataset import LabelledImages
from retrain.evaluation import Labels
from retrain.keras_features import Inputs, Part


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """All images in their order, so many views of each."""

    def __init__(self, part: Part, images: LabelledImages, batch_size: int, *, views: int = 1) -> None:
        super().__init__()
        self._part = part
        self._images = images
        self._labels = images.labels.astype(np.float32)[:, None]  # (N, 1) float32
        self._batch_size = batch_size
        self._rows = np.tile(np.arange(len(images)), views)  # (N * views,) int64
        self._views = np.repeat(np.arange(views), len(images))

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs, NDArray[np.float32]]:
        here = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return self._part.read(self._images, self._rows[here], self._views[here]), self._labels[self._rows[here]]


class Shuffled(Batches):
    """An epoch's draw: every image once, or as many of either class, in an order and in views of its own.

    Args:
        seed: of all draws.
        views: of which each image shows one per epoch.
        balanced: the rarer class's images come more than once, so that half of each epoch is of either class.
    """

    def __init__(
        self, part: Part, images: LabelledImages, batch_size: int, *, seed: int, views: int = 1, balanced: bool = False
    ) -> None:
        super().__init__(part, images, batch_size)
        self._random = np.random.default_rng(seed)
        self._kinds = views
        self._balanced = balanced
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw the next epoch."""
        rows = draw_balanced(self._images.labels, self._random) if self._balanced else np.arange(len(self._images))
        self._rows = self._random.permutation(rows)
        self._views = self._random.integers(0, self._kinds, len(self._rows))


def draw_balanced(labels: Labels, random: np.random.Generator) -> NDArray[np.int64]:
    """Rows of which half are of either class: all of the commoner one, those of the rarer one about equally often.

    Args:
        labels: (N,) uint8, of both classes.
        random: which of the rarer ones come once more.
    """
    classes = [np.flatnonzero(labels == each) for each in (0, 1)]
    most = max(map(len, classes))
    drawn = [np.resize(random.permutation(rows), most) for rows in classes]
    return np.concatenate(drawn)


def prior_log_odds(labels: Labels) -> float:
    """ln of how many images are of `classes[1]` for one of `classes[0]`: what balanced batches take from the logit."""
    positive = int(np.sum(labels == 1))
    return math.log(positive / (len(labels) - positive))
