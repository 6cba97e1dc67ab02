"""Everything stored for a model, as arrays by bucket. LINE B, collect and split.

Rows first, so that a data set nothing can be trained on is refused within milliseconds; pixels once the network, and
with it the image size, is known.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from contract.errors import ClassesNotDeclared, InvalidDataset, InvalidInput
from contract.images import ImageLimits, Pixels, decode_resized
from contract.ports import Database, Storage
from contract.records import Bucket, Example
from retrain.contributors import cap_shares
from retrain.evaluation import Labels

LEAST = {Bucket.TRAIN: 2, Bucket.HOLDOUT: 1}  # images per class
MAX_UNUSABLE_SHARE = 0.1
CHUNK = 64  # images decoded ahead
NAMED = 5  # unusable images that a warning names
HOW = "upload more with POST /api/v1/examples"
PHRASES = {Bucket.TRAIN: "training", Bucket.HOLDOUT: "hold-out"}


@dataclass(frozen=True)
class Collection:
    """A model's rows that are used. `classes[1]` is the positive one."""

    classes: tuple[str, str]
    examples: tuple[Example, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelledImages:
    """One bucket, decoded.

    Attributes:
        pixels: (N, H, W, 3) uint8.
        labels: (N,) uint8, 1 for `classes[1]`.
        examples: their N rows.
    """

    pixels: Pixels
    labels: Labels
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def key(self, row: int) -> bytes:
        """The sha256 of an image's encoded bytes."""
        return bytes.fromhex(self.examples[row].digest)


@dataclass(frozen=True)
class Dataset:
    """What a training uses. `tune` may be empty; `digest` identifies rows, labels and buckets; `counts` is by
    "bucket/label"; `last_example` is the newest id among the rows that were read."""

    classes: tuple[str, str]
    train: LabelledImages
    tune: LabelledImages
    holdout: LabelledImages
    digest: str
    counts: dict[str, int]
    last_example: str
    warnings: tuple[str, ...]


def collect(database: Database, model: str, untrusted_share: float = 1.0) -> Collection:
    """Read a model's rows and check that a classifier can be trained on them.

    Args:
        untrusted_share: the most of the train bucket that one contributor who is not trusted may supply.

    Raises:
        ClassesNotDeclared: the model has no classes yet.
        InvalidDataset: too few images of a class; says which and how to mend it.
    """
    found = database.get_model(model)
    if (classes := found.classes) is None:
        raise ClassesNotDeclared(f"The model {model!r} has no classes yet; import a data set or declare two classes.")
    examples, warnings = cap_shares(database.list_examples(model), untrusted_share, found.split_key)
    check_counts(classes, examples)
    return Collection(classes, examples, warnings)


def check_counts(classes: tuple[str, str], examples: Sequence[Example]) -> None:
    """Raise InvalidDataset unless each class has 2 training images and 1 hold-out image."""
    if not examples:
        raise InvalidDataset(f"The model has no images; {HOW}.")
    count = count_by_bucket(examples)
    for bucket, least in LEAST.items():
        for label in classes:
            found = count.get(f"{bucket}/{label}", 0)
            if found < least:
                images = "image" if found == 1 else "images"
                raise InvalidDataset(
                    f"class {label!r} has {found} {PHRASES[bucket]} {images}; at least {least} "
                    f"{'is' if least == 1 else 'are'} needed; {HOW}."
                )


def count_by_bucket(examples: Sequence[Example]) -> dict[str, int]:
    """How many examples there are per "bucket/label"."""
    return dict(sorted(Counter(f"{example.bucket}/{example.label}" for example in examples).items()))


def digest_rows(examples: Sequence[Example]) -> str:
    """sha256 in hex over the sorted lines "digest label bucket": equal data give an equal digest."""
    lines = sorted(f"{example.digest} {example.label} {example.bucket}\n" for example in examples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load(collection: Collection, storage: Storage, size: tuple[int, int], limits: ImageLimits) -> Dataset:
    """Fetch and decode the images that training and judging use; calibration images stay where they are.

    Args:
        collection: from `collect`.
        storage: holds the encoded bytes.
        size: (height, width) of the network's input.
        limits: the service's limits per image.

    Raises:
        InvalidDataset: more than 10 % of the images cannot be used, or too few are left of a class.
    """
    unusable: dict[str, str] = {}  # example id -> why
    buckets = {
        bucket: _load_bucket(collection, bucket, lambda row: _pixels(storage, row, size, limits), unusable)
        for bucket in (Bucket.TRAIN, Bucket.TUNE, Bucket.HOLDOUT)
    }
    warnings = [*collection.warnings]
    warnings += _warn_of_unusable(collection, unusable, sum(map(len, buckets.values())) + len(unusable))
    kept = [example for example in collection.examples if example.id not in unusable]
    check_counts(collection.classes, kept)
    tune = buckets[Bucket.TUNE]
    if len(set(tune.labels.tolist())) < len(collection.classes):
        tune = LabelledImages(tune.pixels[:0], tune.labels[:0], ())
        warnings.append("The tune bucket does not hold both classes yet, so no epoch is validated.")
    return Dataset(
        classes=collection.classes,
        train=buckets[Bucket.TRAIN],
        tune=tune,
        holdout=buckets[Bucket.HOLDOUT],
        digest=digest_rows(kept),
        counts=count_by_bucket(kept),
        last_example=max(example.id for example in collection.examples),
        warnings=tuple(warnings),
    )


def read_encoded(storage: Storage, examples: Iterable[Example]) -> Iterator[bytes]:
    """The encoded bytes of images that a data set was loaded from.

    Raises:
        InvalidDataset: one has been deleted since.
    """
    for example in examples:
        data = storage.get(example.storage_key)
        if data is None:
            raise InvalidDataset(f"The image {example.id} was deleted while the job used it; start the job again.")
        yield data


def _load_bucket(
    collection: Collection, bucket: Bucket, read: Callable[[Example], Pixels | str], unusable: dict[str, str]
) -> LabelledImages:
    """Decode one bucket into one array, an image at a time so that no pixels are held twice; note what is unusable."""
    rows = [example for example in collection.examples if example.bucket is bucket]
    pixels = np.empty((0,), np.uint8)
    kept: list[Example] = []
    with ThreadPoolExecutor() as threads:  # Pillow decodes outside the interpreter lock
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            for row, found in zip(chunk, threads.map(read, chunk), strict=True):
                if isinstance(found, str):
                    unusable[row.id] = found
                    continue
                if not pixels.ndim > 1:
                    pixels = np.empty((len(rows), *found.shape), np.uint8)  # (N, H, W, 3) uint8
                pixels[len(kept)] = found
                kept.append(row)
    labels = np.array([row.label == collection.classes[1] for row in kept], np.uint8)  # (N,) uint8
    return LabelledImages(pixels[: len(kept)], labels, tuple(kept))


def _pixels(storage: Storage, example: Example, size: tuple[int, int], limits: ImageLimits) -> Pixels | str:
    """Decode one stored image, or say why it cannot be used."""
    data = storage.get(example.storage_key)
    if data is None:
        return "its bytes are missing from the storage"
    try:
        return decode_resized(data, *size, limits)
    except InvalidInput as error:
        return error.message


def _warn_of_unusable(collection: Collection, unusable: dict[str, str], count: int) -> list[str]:
    if not unusable:
        return []
    rows = [example for example in collection.examples if example.id in unusable]
    named = "; ".join(f"{row.file or row.id}: {unusable[row.id]}" for row in rows[:NAMED])
    more = f"; and {len(unusable) - NAMED} more" if len(unusable) > NAMED else ""
    said = f"{len(unusable)} of {count} stored images cannot be used ({named}{more})"
    if len(unusable) > MAX_UNUSABLE_SHARE * count:
        raise InvalidDataset(f"{said}; delete or replace them.")
    return [f"{said}; they were skipped."]
