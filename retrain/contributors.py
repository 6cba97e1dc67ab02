"""How much of what a version learns from may be of one contributor: a pure function. LINE B, collect.

Without a cap whoever has a key could fill the train bucket with wrong labels. Which images of a contributor are used
is drawn by the model's keyed hash of each image, so that more of them do not change the lot of those that are there.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

from contract.records import Bucket, Example


def cap_shares(
    examples: Sequence[Example], most_share: float, split_key: str
) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Leave out what a contributor who is not trusted has beyond a share of the train bucket.

    Args:
        examples: of all buckets; those of trusted contributors all stay.
        most_share: in [0, 1], of the train images that are used, per contributor.
        split_key: the model's key, 32 hex digits.

    Returns:
        The examples that are used, in their order, and a warning per contributor of whom some are not.
    """
    of_each = Counter(one.contributor for one in examples if _capped(one))
    trusted = sum(one.bucket is Bucket.TRAIN and not _capped(one) for one in examples)
    most = most_images(list(of_each.values()), trusted, most_share)
    beyond = {name: count - most for name, count in of_each.items() if count > most}
    left_out: set[str] = set()
    for name in beyond:
        rows = [one.id for one in sorted(examples, key=lambda one: _lot(split_key, one)) if _capped(one, name)]
        left_out.update(rows[most:])
    used = tuple(one for one in examples if one.id not in left_out)
    return used, tuple(
        f"{count} of {of_each[name]} images of {name!r}, whose key is not trusted, are left out: one such contributor "
        f"may supply {most_share:.0%} of what is trained on (RIPEN_UNTRUSTED_SHARE)."
        for name, count in sorted(beyond.items())
    )


def most_images(counts: Sequence[int], others: int, most_share: float) -> int:
    """The largest number of images per contributor that is no more than their share of all that are then used.

    Args:
        counts: images of each capped contributor.
        others: images that are used in any case.
        most_share: in [0, 1].
    """
    most = max(counts, default=0)
    while most > (allowed := int(most_share * (others + sum(min(count, most) for count in counts)))):
        most = allowed
    return most


def _capped(example: Example, name: str | None = None) -> bool:
    """Whether the example counts against a share: that of `name`, or of anybody."""
    return not example.trusted and example.bucket is Bucket.TRAIN and name in (None, example.contributor)


def _lot(split_key: str, example: Example) -> bytes:
    return hashlib.blake2b(example.digest.encode(), key=bytes.fromhex(split_key), digest_size=8).digest()
