"""What people say of recent predictions, and which images they should look at next. Before LINE B step 1.

Synchronous and thread-safe; protocols call it from worker threads.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contract.errors import InvalidRequest, RipenError
from contract.images import ImageHeader, Pixels
from contract.keys import Contributor
from contract.records import Example, Model
from service.kept_images import KeptImage, KeptImages
from service.learning import THUMBNAIL_SIDE, Learning
from service.metrics import Metrics
from service.review_choice import FEW_LABELS, Candidates, Floats, Reason, choose
from service.split import draw

LONGEST_LOOK_S = 5.0  # for thumbnails that are not made yet, per call; the images after that have their turn next time


@dataclass(frozen=True)
class Said:
    """What somebody says of one image: its `label`, or whether the answer was `correct`; one of the two."""

    request_id: str
    index: int = 0
    label: str | None = None
    correct: bool | None = None


@dataclass(frozen=True)
class Proposal:
    """One image to label, and why this one."""

    image: KeptImage
    reason: Reason


class Feedback:
    """Makes examples of kept images, and chooses the next ones to label."""

    def __init__(self, learning: Learning, kept: KeptImages, metrics: Metrics) -> None:
        self._learning = learning
        self._kept = kept
        self._metrics = metrics
        metrics.watch_kept_images(lambda: len(kept), lambda: kept.size_bytes)

    def give(self, model: str, said: Said, contributor: Contributor) -> tuple[Example, bool]:
        """Store a recent prediction's image under its true label, as an upload would be; (it, whether it is new).

        Raises:
            UnknownModel, ClassesNotDeclared, ImagesNotKept, UnknownRequest: there is no such image.
            InvalidRequest, UnknownLabel: neither label nor correctness, or both; not one of the two classes.
            LabelConflict: the same image is stored with the other label.
        """
        target, classes = self._learning.declared(model)
        image = self._kept_image(target, said.request_id, said.index)
        label = _label(said, image.prediction.label, classes)
        self._learning.check_label(model, label)
        file = image.file or f"{image.request_id}-{image.index}"
        example, new = self._learning.add_example(
            target, label=label, data=image.data, file=file, contributor=contributor
        )
        if image.label is None:
            self._metrics.count_feedback(model, confirmed=example.label == image.prediction.label)
        image.label = example.label
        return example, new

    def review(self, model: str, limit: int) -> list[Proposal]:
        """The images most worth a label, at most `limit`. Raises UnknownModel, ImagesNotKept."""
        asked = self._learning.model(model)
        kept = self._kept.of(model, since=asked.created_at.timestamp())
        done = {image.data for image in kept if image.label}
        unique = {image.data: image for image in kept if image.data not in done}  # the newest of equal ones
        seen = self._seen([*reversed(unique.values())])
        labelled = [image.thumbnail for image in kept if image.label and image.thumbnail is not None]
        candidates = Candidates(
            looks=_looks([thumbnail for _, thumbnail in seen]),
            labelled_looks=_looks(labelled),
            doubts=np.array([abs(image.prediction.probability - image.prediction.threshold) for image, _ in seen]),
            draws=np.array([draw(asked.split_key, f"{image.request_id}/{image.index}") for image, _ in seen]),
        )
        chosen = choose(candidates, limit, few_labels=self._fewest_labels(asked) < FEW_LABELS)
        return [Proposal(seen[position][0], reason) for position, reason in chosen]

    def image(self, model: str, request_id: str, index: int) -> tuple[ImageHeader, bytes]:
        """A kept image as it would be stored, without its metadata; raises as `give` where there is none."""
        image = self._kept_image(self._learning.model(model), request_id, index)
        header, data, _ = self._learning.examine(image.data)
        return header, data

    def _kept_image(self, model: Model, request_id: str, index: int) -> KeptImage:
        return self._kept.get(model.name, request_id, index, since=model.created_at.timestamp())

    def _seen(self, images: Sequence[KeptImage]) -> list[tuple[KeptImage, Pixels]]:
        """The images with their thumbnails, those without one for as long as there is time."""
        until = time.monotonic() + LONGEST_LOOK_S
        seen = []
        for image in images:
            if image.thumbnail is None and time.monotonic() < until:
                try:
                    image.thumbnail = self._learning.thumbnail(image.data)
                except RipenError:  # the engine could read it; whoever labels it will hear why not
                    continue
            if image.thumbnail is not None:
                seen.append((image, image.thumbnail))
        return seen

    def _fewest_labels(self, model: Model) -> int:
        counts = self._learning.counts(model.name)
        return min((sum(one.count for one in counts if one.label == name) for name in model.classes or ()), default=0)


def _label(said: Said, predicted: str, classes: tuple[str, str]) -> str:
    if (said.label is None) == (said.correct is None):
        raise InvalidRequest("The feedback has both `label` and `correct`, or neither; expected one of them.")
    if said.label is not None:
        return said.label
    return predicted if said.correct else classes[predicted == classes[0]]


def _looks(thumbnails: Sequence[Pixels]) -> Floats:
    """(THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3) uint8 each -> (N, D) float32 in [0, 1]; N may be 0."""
    return np.array(thumbnails, np.float32).reshape(-1, 3 * THUMBNAIL_SIDE**2) / np.float32(255)
