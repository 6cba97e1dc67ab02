"""Ripen's side of retraining.py: the retrain component's steps on a folder. usage: see there."""

import dataclasses
import hashlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np

from benchmarks.retraining import Order, Spent
from contract.images import ImageLimits, decode_resized
from contract.recipe import Preprocessing, Recipe
from contract.training import Epoch
from retrain import keras_network
from retrain.dataset import LabelledImages
from retrain.features import FeatureCache
from retrain.keras_features import Parts
from retrain.keras_phases import plan
from retrain.keras_training import Training
from retrain.progress import Moment

CACHE_BYTES = 2**33


class Silent:
    """Hears of the progress."""

    def moment(self, moment: Moment) -> None: ...

    def epoch(self, epoch: Epoch, moment: Moment) -> None: ...

    def cached(self, done: int, count: int) -> None: ...


def main(order: Order) -> Spent:
    """Decode, fill the cache, train with a validation at every epoch."""
    began = time.perf_counter()
    recipe = Recipe(
        backbone=order.backbone,
        alpha=order.alpha,
        weights=order.weights,
        preprocessing=Preprocessing.RESCALE,
        head_epochs=order.head_epochs,
        tail_epochs=order.tail_epochs,
        seed=order.seed,
    )
    network = keras_network.build(recipe)
    train, tune = (load(Path(order.folder, part), network.image_size) for part in ("train", "validation"))
    phases = plan(recipe, network.start.pretrained)
    parts = Parts(recipe, network, FeatureCache(Path(order.cache), CACHE_BYTES), len(train) + len(tune), phases)
    parts.fill([(train, 1), (tune, 1)], Silent())
    trained = Training(recipe, network, parts, Silent()).run(train, tune)
    seconds = tuple(
        tuple(epoch.seconds for epoch in trained.history if epoch.phase == phase) for phase in ("head", "tail")
    )
    last = trained.history[-1]
    assert last.validation_loss is not None
    assert last.validation_accuracy is not None
    once_s = time.perf_counter() - began - sum(map(sum, seconds))
    return Spent(once_s, seconds, last.validation_loss, last.validation_accuracy)


def load(folder: Path, size: tuple[int, int]) -> LabelledImages:
    """The images of two classes' folders, decoded as the service and the retrain component do."""
    files = sorted(folder.glob("*/*"))
    labels = np.array([path.parent.name == files[-1].parent.name for path in files], np.uint8)
    with ThreadPoolExecutor() as threads:
        encoded = [path.read_bytes() for path in files]
        pixels = np.stack(list(threads.map(lambda data: decode_resized(data, *size, ImageLimits()), encoded)))
    digests = [hashlib.sha256(data).hexdigest() for data in encoded]
    rows = tuple(SimpleNamespace(id=digest, digest=digest, group_id=digest, file="", label="") for digest in digests)
    return LabelledImages(pixels, labels, rows)  # type: ignore[arg-type]  # nothing else of a row is looked at


if __name__ == "__main__":
    spent = main(msgspec.json.decode(sys.argv[1], type=Order))
    print(msgspec.json.encode(dataclasses.asdict(spent)).decode())
