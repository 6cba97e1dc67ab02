"""Which versions an image went into: by what a job read, or by time where that was not kept."""

from dataclasses import replace
from datetime import timedelta

import database_records
import pytest
from database_records import START

from contract.records import Bucket, Version
from service.lineage import Trace, trace

EARLY = START - timedelta(days=1)
LATE = START + timedelta(days=1)
EXAMPLE = replace(database_records.example(), id="b" * 24, created_at=START)
JOB = database_records.job()


def version(number: int, **changes: object) -> Version:
    return replace(database_records.version(JOB, number), **changes)  # type: ignore[arg-type]  # fields by name


def no_files(version: Version) -> list[str]:
    raise AssertionError(f"version {version.number} was asked for its files")


VERSIONS = [
    version(4, last_example="c" * 24, pruned_at=LATE),
    version(3, last_example="c" * 24),
    version(2, last_example="b" * 24),
    version(1, last_example="a" * 24),
]


@pytest.mark.parametrize(
    ("bucket", "trained", "judged"),
    [
        (Bucket.TRAIN, [2, 3, 4], []),
        (Bucket.TUNE, [2, 3, 4], []),
        (Bucket.HOLDOUT, [], [2, 3, 4]),
        (Bucket.CALIBRATE, [], []),
        (Bucket.EXCLUDED, [], []),
    ],
)
def test_a_version_saw_what_its_job_read(bucket: Bucket, trained: list[int], judged: list[int]) -> None:
    found = trace(replace(EXAMPLE, bucket=bucket), VERSIONS, no_files)
    assert sorted(one.version for one in found.trained_versions) == trained
    assert sorted(one.version for one in found.judged_versions) == judged
    assert found.copies_in == ()


def test_a_trace_says_whether_the_files_are_still_there() -> None:
    found = trace(EXAMPLE, VERSIONS, no_files)
    assert found.trained_versions[:2] == (Trace(4, Bucket.TRAIN, pruned=True), Trace(3, Bucket.TRAIN, pruned=False))


def test_where_it_was_not_kept_time_decides_and_copies_are_looked_for() -> None:
    versions = [
        version(5, created_at=LATE, pruned_at=LATE),
        version(4, created_at=LATE),
        version(3, created_at=LATE),
        version(2, created_at=LATE),
        version(1, created_at=EARLY),
    ]
    files = {4: [EXAMPLE.digest, "0" * 64], 3: ["0" * 64], 2: None}
    found = trace(replace(EXAMPLE, bucket=Bucket.HOLDOUT), versions, lambda one: files[one.number])
    assert [one.version for one in found.judged_versions] == [5, 4, 3, 2]
    assert found.copies_in == (4, 2)  # 2 cannot be read: it may hold one
