"""Ripen's side of accuracy.py: the recipe `best` on a folder, and the linear probe alone. usage: see there."""

import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.accuracy import Answers, Both
from benchmarks.retraining import Order
from benchmarks.ripen_guide import CACHE_BYTES, Silent, load
from contract.leak_audit import LeakAudit
from contract.recipe import BEST, change_recipe
from contract.records import Bucket
from retrain import keras_network, probe
from retrain.dataset import Dataset, LabelledImages, join
from retrain.evaluation import Labels
from retrain.features import FeatureCache
from retrain.keras_recipes import Course
from service.split import choose_bucket


def main(order: Order) -> Both:
    """Decode, divide the training folder, fill the cache, train, calibrate; the validation folder is the hold-out."""
    began = time.perf_counter()
    wanted = {"backbone": order.backbone, "alpha": order.alpha, "weights": order.weights, "seed": order.seed}
    recipe = change_recipe(BEST, wanted)
    network = keras_network.build(recipe)
    folder = Path(order.folder)
    dataset = divide(load(folder / "train", network.image_size), load(folder / "validation", network.image_size), order)
    course = Course(recipe, network, FeatureCache(Path(order.cache), CACHE_BYTES), dataset)
    course.fill(Silent())
    course.train(Silent())
    course.calibrate()
    best = tell(dataset.holdout.labels, course.predict(dataset.holdout), time.perf_counter() - began)
    return Both(best, probe_alone(course, dataset, order.seed))


def divide(train: LabelledImages, holdout: LabelledImages, order: Order) -> Dataset:
    """The training folder by Ripen's hash, with a key of the seed; what would be hold-out is trained on here."""
    key = f"{order.seed:032x}"
    buckets = [choose_bucket(key, example.digest) for example in train.examples]

    def take(*wanted: Bucket) -> LabelledImages:
        rows = [row for row, bucket in enumerate(buckets) if bucket in wanted]
        return LabelledImages(train.pixels[rows], train.labels[rows], tuple(train.examples[row] for row in rows))

    return Dataset(
        classes=("negative", "positive"),
        train=take(Bucket.TRAIN, Bucket.HOLDOUT),
        tune=take(Bucket.TUNE),
        calibrate=take(Bucket.CALIBRATE),
        holdout=holdout,
        digest="",
        counts={},
        last_example="",
        warnings=(),
        leaks=LeakAudit(len(train) + len(holdout), 0, 0, 0, 0, (), 0, 0, 0),
    )


def probe_alone(course: Course, dataset: Dataset, seed: int) -> Answers:
    """The peer: logistic regression on the pooled features of every image of the training folder, nothing else."""
    began = time.perf_counter()
    images = join(join(dataset.train, dataset.tune), dataset.calibrate)
    groups = [example.group_id for example in images.examples]
    fitted = probe.fit(course.features(images), images.labels, groups, seed=seed)
    answers = fitted.predict(course.features(dataset.holdout)[0])
    return tell(dataset.holdout.labels, answers, time.perf_counter() - began)


def tell(labels: Labels, probabilities: np.ndarray, seconds: float) -> Answers:
    """As plain numbers."""
    return Answers(tuple(map(float, probabilities)), tuple(map(int, labels)), seconds)


if __name__ == "__main__":
    print(msgspec.json.encode(main(msgspec.json.decode(sys.argv[1], type=Order))).decode())
