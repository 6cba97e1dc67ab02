"""Buckets as a job gives them: decoded from storage, compared, recorded. Pictures are the drawn sample set's."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import orchard
import pytest
from changed_pictures import LIMITS, everything
from orchard import Orchard

from contract.images import Pixels, decode
from contract.leak_audit import LeakAudit
from contract.records import Bucket, Example, Job
from retrain.dataset import Collection, load
from retrain.groups import Settlement
from retrain.settling import describe, newcomers, settle_newcomers
from ripen.sample_set import draw_jpeg, sample_pictures

PHOTOS = Path(os.environ.get("PHOTOS", "absent"))
KEY = "0" * 32
SIZE = (32, 32)


def jpeg(image: Pixels, quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def upload(planted: Orchard, data: bytes, *, label: str = "apple", bucket: Bucket | None = None) -> Example:
    """As the service stores an image: a hash of its digest gives the bucket, unless a user names it."""
    return planted.add(data, label, bucket, key=KEY)


def settled(planted: Orchard, job: Job) -> Settlement:
    """As a job does it; whether a classifier could be trained on what comes out is another test's."""
    rows = tuple(planted.database.list_examples("default"))
    usable = tuple(one for one in rows if one.bucket is not Bucket.EXCLUDED)
    decoded = load(Collection(orchard.CLASSES, usable), planted.storage, SIZE, LIMITS)
    settlement = settle_newcomers(decoded)
    planted.database.settle_examples(job.id, attempt=job.attempt, examples=newcomers(decoded, settlement))
    return settlement


def buckets(planted: Orchard) -> dict[str, Bucket]:
    return {one.id: one.bucket for one in planted.database.list_examples("default")}


@pytest.fixture(scope="module")
def drawn() -> list[bytes]:
    pictures = list(sample_pictures())
    return [draw_jpeg(picture) for picture in (*pictures[:150], *pictures[400:550])]


def straddling(planted: Orchard, images: Sequence[bytes]) -> int:
    """Of as many near-duplicate pairs, how many end in two buckets; every other copy comes in a second job."""
    random = np.random.default_rng(7)
    job = planted.claim()
    pairs: list[tuple[str, str]] = []
    for late in (False, True):
        for place, data in enumerate(images):
            copy = jpeg(everything(decode(data, LIMITS), random))
            if late is (place % 2 == 1):
                label = orchard.CLASSES[place % 2]
                pairs.append((upload(planted, data, label=label).id, upload(planted, copy, label=label).id))
        settled(planted, job)
    found = buckets(planted)
    assert Bucket.EXCLUDED not in found.values()
    return sum(found[one] is not found[other] for one, other in pairs)


def test_near_duplicates_do_not_straddle_buckets(tmp_path: Path, drawn: list[bytes]) -> None:
    planted = orchard.plant(tmp_path)
    assert straddling(planted, [*drawn[:100], *drawn[150:250]]) <= 4


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="PHOTOS names no data")
def test_photographs_do_not_straddle_buckets(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*/*/*"))[::4][:200]]
    assert len(photos) == 200
    count = straddling(planted, photos)
    print(f"{count} of 200 pairs of near-duplicates straddle buckets")
    assert count <= 4


def test_added_files_move_nothing(tmp_path: Path, drawn: list[bytes]) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    for data in drawn[:100]:
        upload(planted, data)
    settled(planted, job)
    random = np.random.default_rng(3)
    for count, start in ((1, 100), (10, 101), (100, 111)):
        before = planted.database.list_examples("default")
        for place in range(start, start + count):
            data = drawn[place]
            if place % 3 == 0:  # a copy of what is there, changed
                data = jpeg(everything(decode(drawn[place - 100], LIMITS), random))
            upload(planted, data)
        settlement = settled(planted, job)
        after = planted.database.list_examples("default")
        assert after[: len(before)] == before
        assert (len(after), settlement.audit.newcomers) == (len(before) + count, count)
        assert all(one.settled for one in after)
        assert (settlement.audit.across, settlement.audit.exclusions) == (0, ())


def test_a_picture_of_two_buckets_is_kept_out_and_reported(tmp_path: Path, drawn: list[bytes]) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    left, right = (decode(drawn[place], LIMITS) for place in (0, 1))
    size = (256, 128)
    both = np.vstack([cv2.resize(left, size), cv2.resize(right, size)])
    train = upload(planted, jpeg(both[:210]), bucket=Bucket.TRAIN)
    holdout = upload(planted, jpeg(both[46:]), bucket=Bucket.HOLDOUT)
    first = settled(planted, job)
    assert first.audit.joined == 0
    bridge = upload(planted, jpeg(both))
    found = settled(planted, job)
    assert buckets(planted)[bridge.id] is Bucket.EXCLUDED
    (exclusion,) = found.audit.exclusions
    assert (exclusion.example, exclusion.reason) == (bridge.id, "bridges")
    assert set(exclusion.resembles) == {train.id, holdout.id}
    assert "1 new image kept out of all buckets (excluded: bridges)" in describe(found)[0]
    assert settled(planted, job).audit.exclusions == ()
    assert buckets(planted)[bridge.id] is Bucket.EXCLUDED


def test_named_holdout_images_never_train(tmp_path: Path, drawn: list[bytes]) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    trained = upload(planted, drawn[0], bucket=Bucket.TRAIN)
    settled(planted, job)
    mirrored = [jpeg(decode(drawn[place], LIMITS)[:, ::-1]) for place in (0, 1)]
    like_trained = upload(planted, mirrored[0], bucket=Bucket.HOLDOUT)
    new = upload(planted, drawn[1])
    named = upload(planted, mirrored[1], bucket=Bucket.HOLDOUT)
    audit = settled(planted, job).audit
    found = buckets(planted)
    assert (found[trained.id], found[like_trained.id]) == (Bucket.TRAIN, Bucket.EXCLUDED)
    assert found[new.id] is found[named.id] is Bucket.HOLDOUT
    assert audit.holdout_exclusions == 1


def test_what_an_earlier_release_split_is_said(tmp_path: Path, drawn: list[bytes]) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    rows = [
        upload(planted, drawn[0], bucket=Bucket.TRAIN),
        upload(planted, jpeg(decode(drawn[0], LIMITS)[:, ::-1]), bucket=Bucket.HOLDOUT, label="orange"),
    ]
    planted.database.settle_examples(job.id, attempt=1, examples=[replace(one, settled=True) for one in rows])
    for _ in range(2):
        found = settled(planted, job)
        assert [buckets(planted)[one.id] for one in rows] == [Bucket.TRAIN, Bucket.HOLDOUT]
        assert (found.audit.across, found.audit.disagreements) == (1, 1)
        said = describe(found)
        assert said[0].startswith("1 pair of images look the same and are in different buckets")
        assert said[1] == "1 pair of images look the same and have different labels."


@pytest.mark.parametrize(("largest", "said"), [(9, False), (10, True)])
def test_a_group_that_is_too_large_to_be_copies_is_said(largest: int, said: bool) -> None:
    audit = LeakAudit(100, 50, largest, 100, 50, (), 0, 0, 0)
    assert ["are one group" in one for one in describe(Settlement((), audit))] == [True] * said
