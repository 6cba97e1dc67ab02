"""How much one contributor may supply: the cap, whose images stay, and what is said of the others."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import orchard
import pytest

from contract.errors import InvalidDataset
from contract.records import Bucket, Example
from retrain.contributors import cap_shares, most_images
from retrain.dataset import collect, load

KEY = "ab" * 16


def images(contributor: str, count: int, *, trusted: bool = False, bucket: Bucket = Bucket.TRAIN) -> list[Example]:
    names = [f"{contributor}-{bucket}-{number}" for number in range(count)]
    return [
        Example(
            id=name,
            model="default",
            digest=sha256(name.encode()).hexdigest(),
            label="apple",
            bucket=bucket,
            group_id=name,
            file=name,
            format="PNG",
            width=8,
            height=8,
            size_bytes=1,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            contributor=contributor,
            trusted=trusted,
        )
        for name in names
    ]


def used_of(contributor: str, examples: list[Example], share: float) -> set[str]:
    return {one.id for one in cap_shares(examples, share, KEY)[0] if one.contributor == contributor}


def test_one_who_is_not_trusted_supplies_no_more_than_the_share() -> None:
    examples = [*images("ours", 70, trusted=True), *images("stranger", 500), *images("small", 5)]
    used, warnings = cap_shares(examples, 0.3, KEY)
    of_stranger = sum(one.contributor == "stranger" for one in used)
    assert of_stranger == 32
    assert of_stranger / len(used) <= 0.3 < (of_stranger + 1) / (len(used) + 1)
    assert sum(one.contributor == "small" for one in used) == 5
    (warning,) = warnings
    assert warning.startswith("468 of 500 images of 'stranger', whose key is not trusted, are left out")
    assert "30%" in warning
    assert [one.id for one in used] == [one.id for one in examples if one in used]


def test_who_is_trusted_supplies_all_and_other_buckets_stay() -> None:
    examples = [*images("ours", 500, trusted=True), *images("other", 5, trusted=True)]
    assert cap_shares(examples, 0.3, KEY) == (tuple(examples), ())
    # a key that was trusted once: what it gave then judges on, what it gives now is capped
    judging = images("ours", 20, trusted=True, bucket=Bucket.HOLDOUT)
    both = [*judging, *images("ours", 20), *images("a", 7, trusted=True)]
    used, _ = cap_shares(both, 0.3, KEY)
    assert sum(one.bucket is Bucket.HOLDOUT for one in used) == 20
    assert sum(one.bucket is Bucket.TRAIN and one.contributor == "ours" for one in used) == 3


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("others", [0, 1, 10, 1000])
def test_the_cap_is_the_largest_that_keeps_the_share(share: float, others: int) -> None:
    for counts in ([], [5], [50, 50], [1, 2, 300], [20, 20, 20, 20]):
        most = most_images(counts, others, share)

        def fits(cap: int, counts: list[int] = counts) -> bool:
            total = others + sum(min(count, cap) for count in counts)
            return all(min(count, cap) <= int(share * total) for count in counts)

        assert fits(most)
        assert not any(fits(more) for more in range(most + 1, max(counts, default=0) + 1))


def test_more_images_do_not_change_the_lot_of_those_that_are_there() -> None:
    ours, strangers = images("ours", 70, trusted=True), images("stranger", 200)
    few = used_of("stranger", [*ours, *strangers[:100]], 0.3)
    many = used_of("stranger", [*ours, *strangers], 0.3)
    assert len(few) == len(many) == 30
    early = {one.id for one in strangers[:100]}
    assert many & early <= few  # one of the first hundred may only lose its place to a new one
    assert used_of("stranger", [*ours, *strangers[::-1]], 0.3) == many
    other_key = cap_shares([*ours, *strangers], 0.3, "cd" * 16)[0]
    assert {one.id for one in other_key if one.contributor == "stranger"} != many


def test_a_data_set_of_one_stranger_alone_is_refused_where_strangers_are_capped(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    for example in planted.database.list_examples("default", bucket=Bucket.TRAIN):
        planted.database.delete_example("default", example.id)
        planted.database.add_example(replace(example, contributor="stranger", trusted=False))
    with pytest.raises(InvalidDataset, match="0 training images"):
        collect(planted.database, "default", 0.3)
    assert len(collect(planted.database, "default", 1.0).examples) == 44


def test_a_job_learns_and_hears_of_the_cap(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    rows = planted.database.list_examples("default", bucket=Bucket.TRAIN)
    for example in itertools.islice(rows, 0, None, 2):
        planted.database.delete_example("default", example.id)
        planted.database.add_example(replace(example, contributor="stranger", trusted=False))
    dataset = load(collect(planted.database, "default", 0.3), planted.storage, (8, 8), orchard.LIMITS)
    assert sum(one.bucket is Bucket.TRAIN for one in dataset.examples) == 12 + 5
    assert dataset.warnings[0].startswith("7 of 12 images of 'stranger'")
