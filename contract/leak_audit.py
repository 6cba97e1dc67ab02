"""What is known of leaks between the buckets of a data set: a part of each version's manifest. LINE B, split."""

from dataclasses import dataclass

BRIDGES = "bridges"  # the reason of every exclusion: an image that would connect two buckets


@dataclass(frozen=True)
class Exclusion:
    """An image that is kept out of all buckets, and the oldest image in each bucket that it would have connected."""

    example: str
    reason: str
    resembles: tuple[str, ...]


@dataclass(frozen=True)
class LeakAudit:
    """What one job found when it compared all images of its model.

    Attributes:
        images: how many were compared.
        groups: of images that stay together: that look the same, or that a user named so.
        largest_group: images in the largest of them.
        newcomers: images that no job had read before.
        joined: newcomers that got their bucket from an image that looks the same.
        exclusions: newcomers that are kept out of all buckets.
        holdout_exclusions: how many of those a user had named hold-out images.
        across: pairs that look the same and are in different buckets all the same: given by a release that did not
            look, or in two groups that a user named.
        disagreements: pairs that look the same under two labels.
    """

    images: int
    groups: int
    largest_group: int
    newcomers: int
    joined: int
    exclusions: tuple[Exclusion, ...]
    holdout_exclusions: int
    across: int
    disagreements: int
