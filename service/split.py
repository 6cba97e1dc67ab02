"""Which bucket an image begins in: a pure function of its group. LINE B step 1.

Keras's own `validation_split` leaks between retrains; a keyed hash of the group does not, however many images come and
in whatever order. The key is the model's own, so that nobody can choose a picture's bucket by choosing its bytes.
The first job that reads the image settles it there for life, or in the bucket of an image that looks the same.
"""

import hashlib
from dataclasses import dataclass

from contract.errors import PermissionDenied
from contract.keys import Contributor
from contract.recipe import check
from contract.records import GROUP_LENGTH, Bucket, canonical_label

SHARES = ((Bucket.TRAIN, 0.72), (Bucket.TUNE, 0.10), (Bucket.CALIBRATE, 0.08), (Bucket.HOLDOUT, 0.10))


@dataclass(frozen=True)
class Asked:
    """What an upload may ask for: a bucket, and a group of images that stay together. None: nothing is asked."""

    bucket: Bucket | None = None
    group: str | None = None


NOTHING = Asked()


def draw(split_key: str, name: str) -> float:
    """The lot in [0, 1) that falls to `name` for good, and that nobody without the key can foresee."""
    digest = hashlib.blake2b(name.encode(), key=bytes.fromhex(split_key), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def check_bucket(asked: Bucket | None, contributor: Contributor) -> None:
    """Raise PermissionDenied where a contributor who is not trusted asks for another bucket than train."""
    if not contributor.trusted and asked not in (None, Bucket.TRAIN):
        raise PermissionDenied(
            f"The key of {contributor.name!r} is not trusted, so what it supplies is only trained on, and this is for "
            f"the {asked} bucket; leave that out, or use a trusted key."
        )


def place(split_key: str, group_id: str, asked: Bucket | None, contributor: Contributor) -> Bucket:
    """The bucket of an image that comes now: the one that was asked for, or else its group's.

    What a contributor who is not trusted supplies is trained on at most: it must not judge versions, nor choose their
    epoch or calibration.

    Raises:
        PermissionDenied: as `check_bucket`.
    """
    check_bucket(asked, contributor)
    if not contributor.trusted:
        return Bucket.TRAIN
    return asked or choose_bucket(split_key, group_id)


def choose_bucket(split_key: str, group_id: str) -> Bucket:
    """Give a group of images its bucket.

    Args:
        split_key: the model's key, 32 hex digits.
        group_id: the same for images that must stay together: what a user gave, else the image's digest.

    Returns:
        The bucket whose share of [0, 1) holds the keyed BLAKE2b hash of the group.
    """
    position = draw(split_key, group_id)
    for bucket, share in SHARES:
        if position < share:
            return bucket
        position -= share
    return SHARES[-1][0]  # rounding may leave a hair beyond the last share


def check_group(name: str) -> str:
    """Return `name` in its one spelling, or raise InvalidRequest if it cannot name a group of images."""
    spelled = canonical_label(name)
    fits = 1 <= len(spelled) <= GROUP_LENGTH and spelled.isprintable()
    check(fits, "group", name, f"1-{GROUP_LENGTH} printable characters")
    return spelled
