"""Which bucket an image belongs to, for life: a pure function of its group. LINE B step 1.

Keras's own `validation_split` leaks between retrains; a keyed hash of the group does not, however many images come and
in whatever order. The key is the model's own, so that nobody can choose a picture's bucket by choosing its bytes.
"""

import hashlib

from contract.records import Bucket

SHARES = ((Bucket.TRAIN, 0.72), (Bucket.TUNE, 0.10), (Bucket.CALIBRATE, 0.08), (Bucket.HOLDOUT, 0.10))


def draw(split_key: str, name: str) -> float:
    """The lot in [0, 1) that falls to `name` for good, and that nobody without the key can foresee."""
    digest = hashlib.blake2b(name.encode(), key=bytes.fromhex(split_key), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def choose_bucket(split_key: str, group_id: str) -> Bucket:
    """Give a group of images its bucket.

    Args:
        split_key: the model's key, 32 hex digits.
        group_id: the same for images that must stay together; the image's digest for now.

    Returns:
        The bucket whose share of [0, 1) holds the keyed BLAKE2b hash of the group.
    """
    position = draw(split_key, group_id)
    for bucket, share in SHARES:
        if position < share:
            return bucket
        position -= share
    return SHARES[-1][0]  # rounding may leave a hair beyond the last share
