"""Which bucket newcomers get, as tables, and what must hold of any data set."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from database_records import example

from contract.leak_audit import BRIDGES, Exclusion
from contract.records import Bucket, Example
from retrain.groups import settle

TRAIN, TUNE, HOLDOUT, EXCLUDED = Bucket.TRAIN, Bucket.TUNE, Bucket.HOLDOUT, Bucket.EXCLUDED


def old(bucket: Bucket, group: str = "") -> Example:
    row = replace(example(bucket=bucket), settled=True)
    return replace(row, group_id=group or row.digest)


def new(bucket: Bucket, group: str = "", *, named: bool = False) -> Example:
    row = example(bucket=bucket)
    return replace(row, group_id=group or row.digest, bucket_named=named)


@dataclass(frozen=True)
class Case:
    """Images from the oldest to the youngest, the pairs that look the same, and the buckets that they get."""

    what: str
    images: tuple[Example, ...]
    pairs: tuple[tuple[int, int], ...]
    buckets: tuple[Bucket, ...]


CASES = (
    Case("nothing resembles", (old(TRAIN), new(HOLDOUT), new(TUNE)), (), (TRAIN, HOLDOUT, TUNE)),
    Case("a copy of a settled one joins", (old(TRAIN), new(HOLDOUT)), ((0, 1),), (TRAIN, TRAIN)),
    Case("so does a copy of the copy", (old(TRAIN), new(TUNE), new(HOLDOUT)), ((0, 1), (1, 2)), (TRAIN, TRAIN, TRAIN)),
    Case("an older copy joins, too", (new(HOLDOUT), old(TRAIN)), ((0, 1),), (TRAIN, TRAIN)),
    Case("the eldest newcomer gives it", (new(TUNE), new(TRAIN), new(HOLDOUT)), ((0, 1), (1, 2)), (TUNE, TUNE, TUNE)),
    Case("a bridge of newcomers", (new(TUNE), new(TRAIN), new(TRAIN)), ((0, 2), (1, 2)), (TUNE, TUNE, TUNE)),
    Case("named hold-out wins", (new(TRAIN), new(HOLDOUT, named=True)), ((0, 1),), (HOLDOUT, HOLDOUT)),
    Case("hashed hold-out does not", (new(TRAIN), new(HOLDOUT)), ((0, 1),), (TRAIN, TRAIN)),
    Case("a bridge", (old(TRAIN), old(HOLDOUT), new(TRAIN)), ((0, 2), (1, 2)), (TRAIN, HOLDOUT, EXCLUDED)),
    Case("one bucket is no bridge", (old(TUNE), old(TUNE), new(TRAIN)), ((0, 2), (1, 2)), (TUNE, TUNE, TUNE)),
    Case(
        "a chain is cut at its younger half",
        (old(TRAIN), old(HOLDOUT), new(TUNE), new(TUNE)),
        ((0, 2), (1, 3), (2, 3)),
        (TRAIN, HOLDOUT, TRAIN, EXCLUDED),
    ),
    Case("named hold-out like training", (old(TRAIN), new(HOLDOUT, named=True)), ((0, 1),), (TRAIN, EXCLUDED)),
    Case(
        "what resembles training and named hold-out",
        (old(TRAIN), new(TRAIN), new(HOLDOUT, named=True)),
        ((0, 1), (1, 2)),
        (TRAIN, EXCLUDED, HOLDOUT),
    ),
    Case("settled ones stay, though alike", (old(TRAIN), old(HOLDOUT)), ((0, 1),), (TRAIN, HOLDOUT)),
    Case("a user's group is kept together", (old(HOLDOUT, "cam"), new(TRAIN, "cam")), (), (HOLDOUT, HOLDOUT)),
    Case(
        "a group follows its member",
        (old(TRAIN), new(TUNE, "cam"), new(TUNE, "cam")),
        ((0, 2),),
        (TRAIN, TRAIN, TRAIN),
    ),
    Case("two named groups are two", (old(TRAIN, "left"), new(HOLDOUT, "right")), ((0, 1),), (TRAIN, HOLDOUT)),
    Case(
        "a bridge of named groups",
        (old(TRAIN, "left"), old(HOLDOUT, "right"), new(TUNE)),
        ((0, 2), (1, 2)),
        (TRAIN, HOLDOUT, EXCLUDED),
    ),
    Case(
        "of a group only what is alike is kept out",
        (old(TRAIN, "cam"), old(HOLDOUT), new(TRAIN, "cam"), new(TRAIN, "cam")),
        ((1, 2),),
        (TRAIN, HOLDOUT, EXCLUDED, TRAIN),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_buckets(case: Case) -> None:
    settlement = settle(case.images, case.pairs)
    assert tuple(one.bucket for one in settlement.examples) == case.buckets
    assert all(one.settled for one in settlement.examples)
    for before, after in zip(case.images, settlement.examples, strict=True):
        assert before == after or not before.settled
    assert len(settlement.audit.exclusions) == case.buckets.count(EXCLUDED)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_the_order_of_rows_says_nothing(case: Case) -> None:
    expected = {one.id: one for one in settle(case.images, case.pairs).examples}
    for order in itertools.islice(itertools.permutations(range(len(case.images))), 24):
        pairs = [(order.index(one), order.index(other)) for one, other in case.pairs]
        found = settle([case.images[place] for place in order], pairs).examples
        assert {one.id: one for one in found} == expected


def test_groups_take_the_oldest_images_name() -> None:
    images = (old(TRAIN), new(TUNE), new(TUNE, "cam"), new(TUNE, "cam"))
    settled = settle(images, [(0, 1), (1, 2)]).examples
    assert [one.group_id for one in settled] == [images[0].group_id, images[0].group_id, "cam", "cam"]


def test_the_audit_counts() -> None:
    images = (
        old(TRAIN),
        old(HOLDOUT),
        new(TUNE),
        new(HOLDOUT, named=True),
        replace(new(TRAIN), label="orange"),
        new(TUNE),
    )
    pairs = [(0, 1), (0, 2), (0, 3), (0, 4)]
    audit = settle(images, pairs).audit
    assert (audit.images, audit.newcomers, audit.groups, audit.largest_group, audit.joined) == (6, 4, 3, 3, 2)
    assert audit.exclusions == (Exclusion(images[3].id, BRIDGES, (images[0].id,)),)
    assert (audit.holdout_exclusions, audit.across, audit.disagreements) == (1, 1, 1)


def test_an_exclusion_names_what_it_would_have_connected() -> None:
    images = (old(HOLDOUT), old(TRAIN), new(TRAIN), new(TRAIN))
    audit = settle(images, [(0, 3), (1, 2), (2, 3)]).audit
    assert set(audit.exclusions[0].resembles) == {images[0].id, images[1].id}


def world(seed: int) -> tuple[list[Example], list[tuple[int, int]]]:
    """Forty newcomers of any kind, and pairs among them."""
    random = np.random.default_rng(seed)
    buckets = [TRAIN, TRAIN, TRAIN, TUNE, Bucket.CALIBRATE, HOLDOUT]
    images = []
    for _ in range(40):
        group = random.choice(["", "", "", "left", "right"])
        named = bool(random.random() < 0.1)
        bucket = HOLDOUT if named else TUNE if group else buckets[random.integers(len(buckets))]
        images.append(new(bucket, group, named=named))
    ways = list(itertools.combinations(range(40), 2))
    return images, [ways[place] for place in random.choice(len(ways), 30, replace=False)]


def apart(pairs: Sequence[tuple[int, int]], images: Sequence[Example]) -> list[tuple[int, int]]:
    """Pairs in different buckets, but for those in two groups that a user named."""
    return [
        (one, other)
        for one, other in pairs
        if images[one].bucket is not images[other].bucket
        and EXCLUDED not in (images[one].bucket, images[other].bucket)
        and not (images[one].group_named and images[other].group_named)
    ]


@pytest.mark.parametrize("seed", range(60))
def test_nothing_moves_and_nothing_leaks_however_newcomers_come(seed: int) -> None:
    images, pairs = world(seed)
    random = np.random.default_rng(seed)
    arrival = random.permutation(len(images)).tolist()
    known: dict[int, Example] = {}
    while arrival:
        count = int(random.integers(1, 15))
        for place in arrival[:count]:
            known[place] = images[place]
        arrival = arrival[count:]
        places = sorted(place for place in known if known[place].bucket is not EXCLUDED)
        seen = [(places.index(a), places.index(b)) for a, b in pairs if a in places and b in places]
        found = settle([known[place] for place in places], seen)
        for place, after in zip(places, found.examples, strict=True):
            assert not known[place].settled or after == known[place]
            known[place] = after
        assert apart(seen, found.examples) == []
        kept = [one for one in found.examples if one.bucket is not EXCLUDED]
        for group in ("left", "right"):
            assert len({one.bucket for one in kept if one.group_id == group}) <= 1
    ends = {known[place].bucket for place in known if images[place].bucket_named}
    assert ends <= {HOLDOUT, EXCLUDED}


@pytest.mark.parametrize("seed", range(20))
def test_all_at_once_loses_no_newcomer(seed: int) -> None:
    """Where nothing is given for life yet, nothing can be a bridge."""
    images, pairs = world(seed)
    assert settle(images, pairs).audit.exclusions == ()


@pytest.mark.parametrize("seed", range(20))
def test_batches_are_as_good_as_one(seed: int) -> None:
    """Where each resembles one older image at most; else a bridge that comes late is kept out."""
    images = [replace(one, bucket_named=False, group_id=one.digest) for one in world(seed)[0]]
    random = np.random.default_rng(seed)
    pairs = [(int(random.integers(place)), place) for place in range(1, 40) if random.random() < 0.6]
    once = settle(images, pairs).examples
    known: list[Example] = []
    while len(known) < 40:
        count = min(40, len(known) + int(random.integers(1, 15)))
        known += images[len(known) : count]
        known = list(settle(known, [pair for pair in pairs if pair[1] < count]).examples)
    assert [(one.bucket, one.group_id) for one in known] == [(one.bucket, one.group_id) for one in once]


def stranger() -> Example:
    """From a key that is not trusted: it trains, or it is in no bucket."""
    return replace(new(TRAIN, named=True), trusted=False)


@pytest.mark.parametrize(
    ("ours", "buckets"),
    [
        (old(HOLDOUT), (EXCLUDED, HOLDOUT)),
        (old(TRAIN), (TRAIN, TRAIN)),
        (new(HOLDOUT, named=True), (EXCLUDED, HOLDOUT)),
        (new(TUNE), (TRAIN, TRAIN)),
    ],
)
def test_what_a_stranger_supplies_never_judges_and_never_keeps_ours_from_judging(
    ours: Example, buckets: tuple[Bucket, Bucket]
) -> None:
    """Also where it came first."""
    rows = (replace(stranger(), id="0"), replace(ours, id="1", trusted=True))
    assert tuple(one.bucket for one in settle(rows, [(0, 1)]).examples) == buckets
