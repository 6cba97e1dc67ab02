"""The feature cache: kept across jobs, whole or not at all, never larger than it may be."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from contract.errors import StorageFull
from retrain import features
from retrain.features import FeatureCache, Space

SHAPES = {"cut": (2, 3), "features": (4,)}
ROW_BYTES = features.KEY_BYTES + 4 * (6 + 4)
PLENTY = 2**30


def keys(numbers: Sequence[int]) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in numbers]


def rows(numbers: Sequence[int]) -> dict[str, np.ndarray]:
    start = np.asarray(numbers, np.float32)
    return {name: np.add.outer(start, np.zeros(shape, np.float32)) for name, shape in SHAPES.items()}


def add(space: Space, numbers: Sequence[int]) -> None:
    space.add(keys(numbers), rows(numbers))


def holds(space: Space, numbers: Sequence[int]) -> bool:
    given, expected = space.take(keys(numbers)), rows(numbers)
    return all(np.array_equal(given[name], expected[name]) for name in SHAPES)


def test_what_was_added_is_there_for_this_job_and_the_next(tmp_path: Path) -> None:
    space = FeatureCache(tmp_path, PLENTY).open("place", SHAPES)
    add(space, range(5))
    add(space, range(5, 8))
    assert holds(space, [7, 0, 3, 3])
    again = FeatureCache(tmp_path, PLENTY).open("place", SHAPES)
    assert holds(again, range(8))
    assert keys([1])[0] in again
    assert keys([8])[0] not in again
    with pytest.raises(KeyError):
        again.take(keys([8]))


def test_spaces_do_not_mix_and_the_names_order_does_not_matter(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, PLENTY)
    space = cache.open("one", SHAPES)
    space.add(keys([1]), dict(reversed(rows([1]).items())))
    assert holds(space, [1])
    assert keys([1])[0] not in cache.open("other", SHAPES)


def test_what_is_taken_may_be_changed_and_the_cache_stays_as_it_is(tmp_path: Path) -> None:
    space = FeatureCache(tmp_path, PLENTY).open("place", SHAPES)
    add(space, [1])
    space.take(keys([1]))["cut"][:] = 9
    assert holds(space, [1])


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"no array at all" * 40])
def test_a_damaged_shard_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    cache = FeatureCache(tmp_path, PLENTY)
    add(cache.open("place", SHAPES), [1])
    (shard,) = tmp_path.glob("place/*.npy")
    shard.write_bytes(damage)
    space = cache.open("place", SHAPES)
    assert keys([1])[0] not in space
    add(space, [1])
    assert holds(cache.open("place", SHAPES), [1])


def test_a_shard_of_other_tensors_is_not_read(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, PLENTY)
    add(cache.open("place", SHAPES), [1])
    assert keys([1])[0] not in cache.open("place", {"cut": (3, 2), "features": (4,)})


def test_the_shards_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 3 * (10 * ROW_BYTES + 300))
    for number, name in enumerate(("old", "older", "oldest")):
        add(cache.open(name, SHAPES), range(10))
        (shard,) = tmp_path.glob(f"{name}/*.npy")
        os.utime(shard, (1e9 - number, 1e9 - number))
    cache.open("oldest", SHAPES)  # a use
    add(cache.open("new", SHAPES), range(10))
    left = {path.parent.name for path in tmp_path.glob("*/*.npy")}
    assert left == {"old", "oldest", "new"}
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*.npy")) <= cache.max_bytes


def test_a_job_keeps_what_another_one_evicts(tmp_path: Path) -> None:
    space = FeatureCache(tmp_path, PLENTY).open("mine", SHAPES)
    add(space, range(10))
    FeatureCache(tmp_path, 0).make_room(1)
    assert not list(tmp_path.glob("*/*.npy"))
    assert holds(space, range(10))


def test_a_disk_keeps_a_tenth_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path, PLENTY)
    usage = SimpleNamespace(total=10_000, used=7_000, free=3_000)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: usage)
    assert cache.room_bytes == 2_000
    space = cache.open("place", SHAPES)
    add(space, range(10))
    (shard,) = tmp_path.glob("place/*.npy")
    assert cache.room_bytes == 2_000 + shard.stat().st_size
    usage.free = 500
    assert cache.room_bytes == shard.stat().st_size - 500
    add(space, range(10, 20))
    assert not shard.exists(), "it made room"
    usage.free = 10_000 * 2**30
    assert cache.room_bytes == PLENTY


def test_a_disk_that_is_full_after_all_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = FeatureCache(tmp_path, PLENTY).open("place", SHAPES)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(features.os, "fsync", full)
    with pytest.raises(StorageFull, match=r"No space left on device.*RIPEN_FEATURE_CACHE_BYTES"):
        add(space, [1])
    assert not list(tmp_path.glob("place/*"))


def test_parts_that_a_killed_job_left_are_swept_after_an_hour(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, PLENTY)
    space = cache.open("place", SHAPES)
    fresh, old = (tmp_path / "place" / f"{name}{features.PART}" for name in ("fresh", "old"))
    for path in (fresh, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * features.ABANDONED_S,) * 2)
    add(space, [1])
    assert fresh.exists()
    assert not old.exists()


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
import test_features as test
from retrain.features import FeatureCache
space = FeatureCache(Path(sys.argv[1]), test.PLENTY).open("place", test.SHAPES)
number = int(sys.argv[2])
print("ready", flush=True)
while True:
    test.add(space, range(number, number + 50))
    number += 50
"""


def test_two_writers_that_are_killed_leave_only_whole_rows(tmp_path: Path) -> None:
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent.parent)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(first), *paths], stdout=subprocess.PIPE, text=True
        )
        for first in (0, 1_000_000)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        space = FeatureCache(tmp_path, PLENTY).open("place", SHAPES)
        if all(key in space for key in keys([500, 1_000_500])):
            break
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    space = FeatureCache(tmp_path, PLENTY).open("place", SHAPES)
    for first in (0, 1_000_000):
        count = 0
        while keys([first + count])[0] in space:
            count += 1
        assert count >= 50
        assert count % 50 == 0
        assert holds(space, range(first, first + count))
