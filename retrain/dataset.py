"""Everything stored for a model, as arrays by bucket. LINE B, collect and split.

Rows first, so that a data set nothing can be trained on is refused within milliseconds; pixels once the network, and
with it the image size, is known; buckets once newcomers are compared with what is there.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.errors import ClassesNotDeclared, InvalidDataset, InvalidInput
from contract.images import ImageLimits, Pixels, decode, resize
from contract.leak_audit import LeakAudit
from contract.ports import Database, Storage
from contract.records import Bucket, Example
from retrain import views
from retrain.alignment import SIDE
from retrain.contributors import cap_shares
from retrain.evaluation import Labels
from retrain.groups import Settlement
from retrain.near_duplicates import sign

LEAST = {Bucket.TRAIN: 2, Bucket.HOLDOUT: 1}  # images per class
MAX_UNUSABLE_SHARE = 0.1
CHUNK = 64  # images decoded ahead
NAMED = 5  # unusable images that a warning names
HOW = "upload more with POST /api/v1/examples"
BUCKETS = tuple(Bucket)  # in the order in which their pixels lie
PHRASES = {Bucket.TRAIN: "training", Bucket.HOLDOUT: "hold-out"}


@dataclass(frozen=True)
class Collection:
    """A model's rows that are used, none of them kept out of all buckets. `classes[1]` is the positive one."""

    classes: tuple[str, str]
    examples: tuple[Example, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """Every image of a collection that can be used, before newcomers are settled.

    Attributes:
        examples: N rows.
        pixels: (N, H, W, 3) uint8, at the network's size.
        signatures: (N, 96, 96, 3) uint8, to compare the images by.
        warnings: what is said of those that cannot be used.
    """

    classes: tuple[str, str]
    examples: tuple[Example, ...]
    pixels: Pixels
    signatures: Pixels
    warnings: tuple[str, ...]


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

    def key(self, row: int, view: int = 0) -> bytes:
        """What identifies a view of an image; of the image itself the sha256 of its encoded bytes."""
        return views.key(bytes.fromhex(self.examples[row].digest), view)

    def draw(self, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> Pixels:
        """Views of some images: (N,) rows and (N,) numbers of views -> (N, H, W, 3) uint8."""
        if not numbers.any():
            return self.pixels[rows]
        return np.stack(
            [views.draw(self.pixels[row], view, self.key(row)) for row, view in zip(rows, numbers, strict=True)]
        )


def join(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    """Two buckets as one."""
    if not len(first) or not len(second):
        return first if len(first) else second
    return LabelledImages(
        np.concatenate([first.pixels, second.pixels]),
        np.concatenate([first.labels, second.labels]),
        first.examples + second.examples,
    )


@dataclass(frozen=True)
class Dataset:
    """What a training uses. `tune` and `calibrate` may be empty; `digest` identifies rows, labels and buckets;
    `counts` is by "bucket/label"; `last_example` is the newest id among the rows that were read."""

    classes: tuple[str, str]
    train: LabelledImages
    tune: LabelledImages
    calibrate: LabelledImages
    holdout: LabelledImages
    digest: str
    counts: dict[str, int]
    last_example: str
    warnings: tuple[str, ...]
    leaks: LeakAudit


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
    stored = [one for one in database.list_examples(model) if one.bucket is not Bucket.EXCLUDED]
    examples, warnings = cap_shares(stored, untrusted_share, found.split_key)
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


def load(collection: Collection, storage: Storage, size: tuple[int, int], limits: ImageLimits) -> Decoded:
    """Fetch and decode every image, each once.

    Args:
        collection: from `collect`.
        storage: holds the encoded bytes.
        size: (height, width) of the network's input.
        limits: the service's limits per image.

    Raises:
        InvalidDataset: more than 10 % of the images cannot be used.
    """
    rows = sorted(collection.examples, key=lambda example: BUCKETS.index(example.bucket))  # few move in `divide`
    pixels = np.empty((len(rows), *size, 3), np.uint8)  # (N, H, W, 3) uint8
    signatures = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
    kept: list[Example] = []
    unusable: dict[str, str] = {}  # example id -> why
    with ThreadPoolExecutor() as threads:  # Pillow decodes outside the interpreter lock
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            for row, found in zip(
                chunk, threads.map(lambda one: _decode(storage, one, size, limits), chunk), strict=True
            ):
                if isinstance(found, str):
                    unusable[row.id] = found
                    continue
                pixels[len(kept)], signatures[len(kept)] = found
                kept.append(row)
    warnings = [*collection.warnings, *_warn_of_unusable(collection, unusable)]
    count = len(kept)
    return Decoded(collection.classes, tuple(kept), pixels[:count], signatures[:count], tuple(warnings))


def divide(decoded: Decoded, settlement: Settlement) -> Dataset:
    """Give each image to its bucket. The pixels are moved, not copied: `decoded` cannot be used afterwards.

    Args:
        settlement: of the rows of `decoded`.

    Raises:
        InvalidDataset: too few images are left of a class.
    """
    examples = settlement.examples
    order = sorted(range(len(examples)), key=lambda place: BUCKETS.index(examples[place].bucket))
    _move(decoded.pixels, order)
    rows = [examples[place] for place in order]
    used = [row for row in rows if row.bucket is not Bucket.EXCLUDED]
    check_counts(decoded.classes, used)
    buckets = {bucket: _cut(decoded, rows, bucket) for bucket in BUCKETS}
    tune, warnings = buckets[Bucket.TUNE], list(decoded.warnings)
    if len(set(tune.labels.tolist())) < len(decoded.classes):
        tune = LabelledImages(tune.pixels[:0], tune.labels[:0], ())
        warnings.append("The tune bucket does not hold both classes yet, so no epoch is validated.")
    return Dataset(
        classes=decoded.classes,
        train=buckets[Bucket.TRAIN],
        tune=tune,
        calibrate=buckets[Bucket.CALIBRATE],
        holdout=buckets[Bucket.HOLDOUT],
        digest=digest_rows(used),
        counts=count_by_bucket(used),
        last_example=max(row.id for row in rows),
        warnings=tuple(warnings),
        leaks=settlement.audit,
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


def _decode(
    storage: Storage, example: Example, size: tuple[int, int], limits: ImageLimits
) -> tuple[Pixels, Pixels] | str:
    """The pixels and the signature of one stored image, or why it cannot be used."""
    data = storage.get(example.storage_key)
    if data is None:
        return "its bytes are missing from the storage"
    try:
        image = decode(data, limits)
    except InvalidInput as error:
        return error.message
    return resize(image, *size), sign(image)


def _move(pixels: Pixels, order: Sequence[int]) -> None:
    """Bring `pixels[order[place]]` to each place, with room for one image more."""
    sources = list(order)
    for start in range(len(sources)):
        place, first = start, None
        while sources[place] != place:
            first = pixels[start].copy() if first is None else first
            source, sources[place] = sources[place], place
            pixels[place] = first if source == start else pixels[source]
            place = source


def _cut(decoded: Decoded, rows: Sequence[Example], bucket: Bucket) -> LabelledImages:
    """One bucket of what lies in the order of the buckets."""
    first = sum(BUCKETS.index(row.bucket) < BUCKETS.index(bucket) for row in rows)
    own = tuple(row for row in rows if row.bucket is bucket)
    labels = np.array([row.label == decoded.classes[1] for row in own], np.uint8)  # (N,) uint8
    return LabelledImages(decoded.pixels[first : first + len(own)], labels, own)


def _warn_of_unusable(collection: Collection, unusable: dict[str, str]) -> list[str]:
    if not unusable:
        return []
    count = len(collection.examples)
    rows = [example for example in collection.examples if example.id in unusable]
    named = "; ".join(f"{row.file or row.id}: {unusable[row.id]}" for row in rows[:NAMED])
    more = f"; and {len(unusable) - NAMED} more" if len(unusable) > NAMED else ""
    said = f"{len(unusable)} of {count} stored images cannot be used ({named}{more})"
    if len(unusable) > MAX_UNUSABLE_SHARE * count:
        raise InvalidDataset(f"{said}; delete or replace them.")
    return [f"{said}; they were skipped."]
