"""Which bucket an image begins in: a pure function of its group. LINE B step 1.

Keras's own `validation_split` leaks between retrains; a keyed hash of the group does not, however many images come and
in whatever order. The key is the model's own, so that nobody can choose a picture's bucket by choosing its bytes.
The first job that reads the image settles it there for life, or in the bucket of an image that looks the same.
"""

import hashlib

from contract.recipe import check
from contract.records import GROUP_LENGTH, Bucket, canonical_label

SHARES = ((Bucket.TRAIN, 0.72), (Bucket.TUNE, 0.10), (Bucket.CALIBRATE, 0.08), (Bucket.HOLDOUT, 0.10))


def choose_bucket(split_key: str, group_id: str) -> Bucket:
    """Give a group of images its bucket.

    Args:
        split_key: the model's key, 32 hex digits.
        group_id: the same for images that must stay together: what a user gave, else the image's digest.

    Returns:
        The bucket whose share of [0, 1) holds the keyed BLAKE2b hash of the group.
    """
    digest = hashlib.blake2b(group_id.encode(), key=bytes.fromhex(split_key), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64
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
