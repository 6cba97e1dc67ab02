"""Which versions an image went into, from its row and theirs: pure. LINE B step 1, taken back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from contract.records import Bucket, Example, Version

TRAINED_ON = (Bucket.TRAIN, Bucket.TUNE)
ReadFiles = Callable[[Version], Iterable[str] | None]


@dataclass(frozen=True)
class Trace:
    """A version that an image went into, and as what; a pruned one has no files any more."""

    version: int
    bucket: Bucket
    pruned: bool


@dataclass(frozen=True)
class Deletion:
    """What became of an image that is deleted now.

    Attributes:
        trained_versions: those whose weights learnt from it, or chose their epoch by it.
        judged_versions: those whose metrics count it; their weights never saw it.
        copies_in: those whose files hold a copy of it, or cannot be read; only removing such a version removes it.
    """

    example: Example
    trained_versions: tuple[Trace, ...]
    judged_versions: tuple[Trace, ...]
    copies_in: tuple[int, ...]


def trace(example: Example, versions: Iterable[Version], read_files: ReadFiles) -> Deletion:
    """Follow an example into versions.

    Args:
        versions: all of its model's.
        read_files: the sha256 of each file of a version, None where nobody can say; asked only of those made before
            golden images were drawn.
    """
    read_it = [version for version in versions if _read(version, example)]
    traces = tuple(Trace(one.number, example.bucket, one.pruned_at is not None) for one in read_it)
    return Deletion(
        example=example,
        trained_versions=traces if example.bucket in TRAINED_ON else (),
        judged_versions=traces if example.bucket is Bucket.HOLDOUT else (),
        copies_in=tuple(one.number for one in read_it if _may_hold_copy(one, example, read_files)),
    )


def _may_hold_copy(version: Version, example: Example, read_files: ReadFiles) -> bool:
    if version.last_example is not None or version.pruned_at is not None:
        return False
    files = read_files(version)
    return files is None or example.digest in files


def _read(version: Version, example: Example) -> bool:
    """Whether the version's job read the example; where that was not kept yet, whether it can have."""
    if version.last_example is not None:
        return example.id <= version.last_example
    return example.created_at <= version.created_at
