"""Newcomers get their group and bucket for life, before anything is trained. LINE B, split."""

from collections.abc import Sequence

import numpy as np

from contract.records import Example
from retrain.dataset import BUCKETS, Decoded
from retrain.groups import Settlement, settle
from retrain.near_duplicates import find_pairs

NEWCOMER = -1  # compared with everything; settled images only with those of other buckets
NAMED = 5  # images that a warning names
LARGE_GROUP, LARGE_SHARE = 10, 0.05  # a group of as many images, and of this share of all, is one to look at


def settle_newcomers(decoded: Decoded) -> Settlement:
    """Compare all images, and give each newcomer what it has from now on."""
    kinds = [BUCKETS.index(one.bucket) if one.settled else NEWCOMER for one in decoded.examples]
    return settle(decoded.examples, find_pairs(decoded.signatures, np.array(kinds, np.int64)))


def describe(settlement: Settlement) -> list[str]:
    """What a person should know of it, as warnings."""
    audit, said = settlement.audit, []
    if audit.exclusions:
        ids = {one.example for one in audit.exclusions}
        excluded = [one for one in settlement.examples if one.id in ids]
        said.append(
            f"{_count(len(excluded), 'new image')} kept out of all buckets (excluded: bridges), each looking the same "
            f"as images of two of them, {audit.holdout_exclusions} of these named hold-out: {_names(excluded)}. To use "
            "one, delete it and what it resembles, and add it again."
        )
    if audit.across:
        said.append(
            f"{_count(audit.across, 'pair')} of images look the same and are in different buckets, so that metrics may "
            "be too good: they were there before images were compared, or a user named two groups. Delete one of each."
        )
    if audit.disagreements:
        said.append(f"{_count(audit.disagreements, 'pair')} of images look the same and have different labels.")
    if audit.largest_group >= max(LARGE_GROUP, LARGE_SHARE * audit.images):
        said.append(
            f"{audit.largest_group} of {audit.images} images are one group and stay in one bucket. Where they are "
            "different things before one camera, give each thing a `group` of its own."
        )
    return said


def newcomers(decoded: Decoded, settlement: Settlement) -> list[Example]:
    """Those that have to be recorded."""
    pairs = zip(decoded.examples, settlement.examples, strict=True)
    return [after for before, after in pairs if not before.settled]


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _names(examples: Sequence[Example]) -> str:
    named = ", ".join(one.file or one.id for one in examples[:NAMED])
    return named if len(examples) <= NAMED else f"{named} and {len(examples) - NAMED} more"
