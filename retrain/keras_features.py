"""Fills the feature cache: an image goes through the frozen layers once, and never again in a later job. LINE B, cache.

Also which part of the network each phase trains, on what: activations that are cached, or pixels where nothing of the
network is frozen or the activations would not fit into the cache.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from contract.recipe import Recipe
from retrain import keras_cut
from retrain.dataset import LabelledImages
from retrain.features import FeatureCache, Space
from retrain.keras_cut import Cut
from retrain.keras_network import Built
from retrain.keras_phases import Phase, release

BATCH = 32  # images per pass
Inputs = NDArray[np.uint8] | dict[str, NDArray[np.float32]]


class Counting(Protocol):
    """Hears how many images went through the frozen layers; what it raises ends the job."""

    def cached(self, done: int, count: int) -> None: ...


@dataclass(frozen=True)
class Part:
    """What one phase trains.

    Attributes:
        phase: its name and epochs.
        model: from `space`'s tensors, or pixels, to the probability.
        space: where the activations lie; None: the inputs are pixels.
        unfrozen: names of the backbone's layers that learn.
    """

    phase: Phase
    model: keras.Model
    space: Space | None
    unfrozen: tuple[str, ...] = ()

    def read(self, images: LabelledImages, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Inputs:
        """The inputs of some views of some of the images."""
        if self.space is None:
            return images.draw(rows, views)
        return self.space.take([images.key(row, view) for row, view in zip(rows, views, strict=True)])


class Parts:
    """The parts of one network's training, in the order of its phases.

    Args:
        recipe, built: what is trained.
        cache: holds activations; None: nothing is cached.
        images: how many there are in all, views included, whose activations must fit.
        phases: of the training.

    Raises:
        NothingToTrain: the backbone has no weight that could be unfrozen.
    """

    def __init__(
        self, recipe: Recipe, built: Built, cache: FeatureCache | None, images: int, phases: Sequence[Phase]
    ) -> None:
        self.notes: list[str] = []
        self.seconds = 0.0  # that `fill` took
        self._cuts: list[tuple[Cut, Space]] = []
        self._head: Cut | None = None
        parts: list[Part] = []
        for phase in phases:
            unfrozen, said = release(phase, recipe, built.start.layers)
            self.notes += said
            cut: Cut | None = None
            if phase.name == "head":
                cut = self._head = keras_cut.before_head(recipe, built)
            if phase.name == "tail":
                cut = keras_cut.before_tail(recipe, built)
            space = self._open(cut, cache, images)
            parts.append(Part(phase, built.model if space is None or cut is None else cut.rest, space, unfrozen))
        self.all = tuple(parts)

    def fill(self, buckets: Sequence[tuple[LabelledImages, int]], listener: Counting) -> None:
        """Compute and keep what is missing of the activations of images, of so many views each."""
        missing = [
            (images, row, view)
            for images, views in buckets
            for view in range(views)
            for row in range(len(images))
            if any(images.key(row, view) not in space for _, space in self._cuts)
        ]
        if not missing:
            return
        started_s = time.monotonic()
        together = min(space.rows_per_shard for _, space in self._cuts)
        front = self._front()
        with ThreadPoolExecutor(max_workers=1) as writer:  # a disk takes as long as a small network
            written = writer.submit(lambda: None)
            for start in range(0, len(missing), together):
                chunk = missing[start : start + together]
                tensors: dict[str, list[NDArray[np.float32]]] = {}
                for place in range(0, len(chunk), BATCH):
                    batch = chunk[place : place + BATCH]
                    answer = front.predict_on_batch(
                        np.concatenate([images.draw(np.array([row]), np.array([view])) for images, row, view in batch])
                    )
                    for name, values in answer.items():
                        tensors.setdefault(name, []).append(np.asarray(values, np.float32))
                    listener.cached(start + place + len(batch), len(missing))
                written.result()
                written = writer.submit(self._keep, [images.key(row, view) for images, row, view in chunk], tensors)
            written.result()
        self.seconds += time.monotonic() - started_s

    def features(self, images: LabelledImages, views: int) -> NDArray[np.float32]:
        """What the head is given of so many views of each image: (V, N, F) float32."""
        assert self._head is not None, "only a frozen backbone has features"
        rows, found = np.arange(len(images)), []
        for view in range(views):
            for start in range(0, len(images), BATCH):
                batch = rows[start : start + BATCH]
                given = self.all[0].read(images, batch, np.full(len(batch), view))
                tensors = given if isinstance(given, dict) else self._head.front.predict_on_batch(given)
                found.append(np.asarray(tensors[keras_cut.HEAD], np.float32))
        return np.concatenate(found).reshape(views, len(images), -1)

    def _open(self, cut: Cut | None, cache: FeatureCache | None, images: int) -> Space | None:
        """The cut's space, if there is room for it beside those before it."""
        if cut is None or cache is None:
            return None
        wanted = [cut.tensors, *(known.tensors for known, _ in self._cuts)]
        wanted_bytes = images * sum(4 * int(np.prod(shape)) for tensors in wanted for shape in tensors.values())
        if wanted_bytes > (room_bytes := cache.room_bytes):
            self.notes.append(
                f"The activations of {images} images would take {wanted_bytes / 1e9:.2f} GB; there is room for "
                f"{room_bytes / 1e9:.2f} (RIPEN_FEATURE_CACHE_BYTES, and what the disk has free). They are computed "
                "anew at every epoch."
            )
            return None
        space = cache.open(cut.identity, cut.tensors)
        self._cuts.append((cut, space))
        return space

    def _front(self) -> keras.Model:
        """What computes all tensors in one pass."""
        first, last = self._cuts[0][0], self._cuts[-1][0]
        return first.front if first is last else keras_cut.join(last)

    def _keep(self, keys: Sequence[bytes], tensors: dict[str, list[NDArray[np.float32]]]) -> None:
        whole = {name: np.concatenate(values) for name, values in tensors.items()}
        for cut, space in self._cuts:
            new = [row for row, key in enumerate(keys) if key not in space]
            if new:
                space.add([keys[row] for row in new], {name: whole[name][new] for name in cut.tensors})
