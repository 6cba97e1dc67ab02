"""Rows and pixels by bucket, and what is said of a data set that cannot be used."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import orchard
import pytest

from contract.errors import ClassesNotDeclared, InvalidDataset
from contract.images import decode_resized
from contract.records import Bucket
from retrain.dataset import Collection, Dataset, collect, digest_rows, divide, load, read_encoded
from retrain.groups import Settlement, settle

SIZE = (24, 32)


def loaded(planted: orchard.Orchard, collection: Collection | None = None) -> Dataset:
    """As a job loads it, where no two images look the same."""
    decoded = load(collection or collect(planted.database, "default"), planted.storage, SIZE, orchard.LIMITS)
    return divide(decoded, settle(decoded.examples, []))


def test_images_come_by_bucket_with_their_labels(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    dataset = loaded(planted)
    assert dataset.classes == orchard.CLASSES
    assert dataset.train.pixels.shape == (24, *SIZE, 3)
    assert dataset.train.pixels.dtype == np.uint8
    assert [len(dataset.tune), len(dataset.calibrate), len(dataset.holdout)] == [6, 2, 12]
    assert dataset.counts["calibrate/apple"] == 1
    check_pixels(planted, dataset)
    assert dataset.warnings == ()


def check_pixels(planted: orchard.Orchard, dataset: Dataset) -> None:
    """Each bucket's pixels and labels are those of its rows."""
    for bucket in (dataset.train, dataset.tune, dataset.calibrate, dataset.holdout):
        assert len(bucket.pixels) == len(bucket.labels) == len(bucket.examples)
        for pixels, label, example in zip(bucket.pixels, bucket.labels, bucket.examples, strict=True):
            assert label == (example.label == "orange")
            expected = decode_resized(planted.storage.get(example.storage_key) or b"", *SIZE, orchard.LIMITS)
            assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("seed", range(3))
def test_pixels_follow_images_that_settle_in_other_buckets(tmp_path: Path, seed: int) -> None:
    planted = orchard.plant(tmp_path)
    decoded = load(collect(planted.database, "default"), planted.storage, SIZE, orchard.LIMITS)
    random = np.random.default_rng(seed)
    buckets = [list(Bucket)[place] for place in random.integers(0, len(Bucket), len(decoded.examples))]
    moved = [replace(one, bucket=bucket) for one, bucket in zip(decoded.examples, buckets, strict=True)]
    dataset = divide(decoded, Settlement(tuple(moved), settle(moved, []).audit))
    check_pixels(planted, replace(dataset, tune=dataset.calibrate))
    kept = [one for one in moved if one.bucket is not Bucket.EXCLUDED]
    assert dataset.digest == digest_rows(kept)
    assert sum(dataset.counts.values()) == len(kept)
    assert {one.id for one in dataset.train.examples} == {one.id for one in moved if one.bucket is Bucket.TRAIN}


def test_too_few_images_may_be_left_of_a_class_once_all_are_settled(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {Bucket.TRAIN: 3, Bucket.HOLDOUT: 1})
    decoded = load(collect(planted.database, "default"), planted.storage, SIZE, orchard.LIMITS)
    places = {bucket: [n for n, one in enumerate(decoded.examples) if one.bucket is bucket] for bucket in Bucket}
    alike = [(places[Bucket.TRAIN][0], one) for one in places[Bucket.HOLDOUT]]
    with pytest.raises(InvalidDataset, match="class 'apple' has 0 hold-out images"):
        divide(decoded, settle(decoded.examples, alike))


def test_excluded_images_are_not_read(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    before = collect(planted.database, "default").examples
    planted.add(orchard.picture("apple", 999), "apple", Bucket.EXCLUDED)
    assert collect(planted.database, "default").examples == before


def test_the_digest_names_images_labels_and_buckets(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    before = collect(planted.database, "default").examples
    assert digest_rows(before) == digest_rows(before[::-1])
    planted.add(orchard.picture("apple", 999), "apple", Bucket.TRAIN)
    assert digest_rows(collect(planted.database, "default").examples) != digest_rows(before)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "The model has no images; upload more"),
        ({Bucket.TRAIN: 1, Bucket.HOLDOUT: 5}, "class 'apple' has 1 training image; at least 2 are needed; upload"),
        ({Bucket.TRAIN: 9}, "class 'apple' has 0 hold-out images; at least 1 is needed; upload"),
    ],
)
def test_too_few_images_are_refused_by_name(tmp_path: Path, counts: dict[Bucket, int], words: str) -> None:
    with pytest.raises(InvalidDataset, match=words):
        collect(orchard.plant(tmp_path, counts).database, "default")


def test_a_class_without_images_is_refused_by_name(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {Bucket.HOLDOUT: 1})
    for seed in range(2):
        planted.add(orchard.picture("apple", 100 + seed), "apple", Bucket.TRAIN)
    with pytest.raises(InvalidDataset, match="class 'orange' has 0 training images"):
        collect(planted.database, "default")


def test_a_model_without_classes_is_refused(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {})
    planted.database.create_model("other", None)
    with pytest.raises(ClassesNotDeclared):
        collect(planted.database, "other")


def test_an_empty_tune_bucket_is_only_a_warning(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {Bucket.TRAIN: 2, Bucket.HOLDOUT: 1})
    planted.add(orchard.picture("apple", 100), "apple", Bucket.TUNE)
    dataset = loaded(planted)
    assert len(dataset.tune) == 0
    assert "no epoch is validated" in dataset.warnings[0]


def test_unusable_images_are_skipped_and_named(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    rows = [row for row in planted.database.list_examples("default") if row.bucket is Bucket.TRAIN]
    planted.storage.delete(rows[0].storage_key)
    planted.storage.put(rows[5].storage_key, b"no image")
    collection = collect(planted.database, "default")
    dataset = loaded(planted, collection)
    assert len(dataset.train) == 22
    assert rows[0].file in dataset.warnings[0]
    assert "Not a JPEG" in dataset.warnings[0]
    assert "2 of 44 stored images" in dataset.warnings[0]
    assert dataset.digest != digest_rows(collection.examples)


def test_many_unusable_images_are_an_error(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    for row in planted.database.list_examples("default", bucket=Bucket.TUNE):
        planted.storage.delete(row.storage_key)
    with pytest.raises(InvalidDataset, match=r"6 of 44 stored images cannot be used .*; and 1 more"):
        loaded(planted)


def test_an_image_deleted_meanwhile_is_named(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    row = planted.database.list_examples("default")[0]
    planted.storage.delete(row.storage_key)
    with pytest.raises(InvalidDataset, match=row.id):
        list(read_encoded(planted.storage, [row]))
