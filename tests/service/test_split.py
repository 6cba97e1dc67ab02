"""The bucket of an image: stable, in the right shares, different per model."""

import hashlib
import math
from collections import Counter

import pytest

from contract.errors import PermissionDenied
from contract.keys import Contributor
from contract.records import Bucket
from service.split import SHARES, choose_bucket, draw, place

KEY, OTHER_KEY = "0" * 32, "f" * 32
GROUPS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(10_000)]


def test_shares_are_kept() -> None:
    counts = Counter(choose_bucket(KEY, group) for group in GROUPS)
    assert math.isclose(sum(share for _, share in SHARES), 1.0)
    for bucket, share in SHARES:
        assert abs(counts[bucket] / len(GROUPS) - share) < 0.015


def test_the_answer_never_changes() -> None:
    """Images keep their bucket for life: a release that moved these would leak hold-out images into training."""
    others = {number: choose_bucket(KEY, GROUPS[number]) for number in range(14)}
    moved = {number: bucket for number, bucket in others.items() if bucket is not Bucket.TRAIN}
    assert moved == {3: Bucket.HOLDOUT, 9: Bucket.TUNE}


def test_another_key_splits_otherwise() -> None:
    differing = sum(choose_bucket(KEY, group) != choose_bucket(OTHER_KEY, group) for group in GROUPS[:1000])
    assert differing > 300


def test_who_is_not_trusted_only_trains() -> None:
    stranger, ours = Contributor("stranger", trusted=False), Contributor("ours", trusted=True)
    groups = [f"group {number}" for number in range(200)]
    assert {place(KEY, group, None, stranger) for group in groups} == {Bucket.TRAIN}
    assert [place(KEY, group, None, ours) for group in groups] == [choose_bucket(KEY, group) for group in groups]
    assert place(KEY, "a", Bucket.HOLDOUT, ours) is Bucket.HOLDOUT
    assert place(KEY, "a", Bucket.TRAIN, stranger) is Bucket.TRAIN
    for bucket in (Bucket.TUNE, Bucket.CALIBRATE, Bucket.HOLDOUT):
        with pytest.raises(PermissionDenied, match=f"'stranger' is not trusted.*{bucket} bucket"):
            place(KEY, "a", bucket, stranger)


def test_lots_are_spread_and_keyed() -> None:
    lots = [draw(KEY, f"{number}") for number in range(1000)]
    assert 0 <= min(lots) < 0.01
    assert 0.99 < max(lots) < 1
    assert lots != [draw(OTHER_KEY, f"{number}") for number in range(1000)]
