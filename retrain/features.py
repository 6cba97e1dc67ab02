"""Activations of frozen layers, by image, kept for later epochs and later jobs. LINE B, cache.

`<folder>/<space>/<random>.npy` is a shard: an array of records (key, tensor, tensor, ...) in numpy's own format, mapped
into memory. It is written whole under another name, then renamed, and never changed: a killed job leaves nothing
half-done, and jobs need no locks. A job keeps what it has mapped, also where another one evicts the file.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import StorageFull

KEY_BYTES = 32  # a sha256
SHARD_BYTES = 2**25  # so much of the work is lost at most where a job is killed
PART = ".part"
FREE_SHARE, FREE_BYTES = 0.1, 2 * 2**30  # of the disk stay free: twice what the storage keeps for the database
ABANDONED_S = 3600.0  # a part that nobody wrote to for so long is a killed job's

Tensors = Mapping[str, NDArray[np.float32]]  # name -> (N, ...) float32
Records = NDArray[np.void]


@dataclass(frozen=True)
class FeatureCache:
    """A folder of spaces, each of which holds the activations at one place of one network.

    Attributes:
        folder: on a local disk.
        max_bytes: of all shards together; those that no job has used for the longest time are evicted.
    """

    folder: Path
    max_bytes: int

    def open(self, space: str, shapes: Mapping[str, tuple[int, ...]]) -> "Space":
        """Map what a space holds, and count it as used now.

        Args:
            space: its name, in which everything counts that the activations depend on, but for the image.
            shapes: of each tensor, without the batch's axis.
        """
        fields: list[Any] = [("key", f"V{KEY_BYTES}"), *((name, "<f4", shape) for name, shape in shapes.items())]
        return Space(self, self.folder / space, np.dtype(fields))

    @property
    def room_bytes(self) -> int:
        """What the cache may take now: as much as it may ever, and as the disk has."""
        self.folder.mkdir(parents=True, exist_ok=True)
        disk = shutil.disk_usage(self.folder)
        held_bytes = sum(size for _, size, _ in self._shards())
        spare_bytes = disk.free - int(min(FREE_SHARE * disk.total, FREE_BYTES))
        return min(self.max_bytes, max(0, held_bytes + spare_bytes))

    def make_room(self, wanted_bytes: int) -> None:
        """Evict until so much more fits; and sweep the parts that killed jobs left."""
        for part in self.folder.glob(f"*/*{PART}"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > ABANDONED_S:
                    part.unlink()
        room_bytes = self.room_bytes
        shards = sorted(self._shards())
        held_bytes = sum(size for _, size, _ in shards)
        for _, size, path in shards:
            if held_bytes + wanted_bytes <= room_bytes:
                return
            path.unlink(missing_ok=True)
            held_bytes -= size

    def _shards(self) -> Iterator[tuple[float, int, Path]]:
        """(last use, bytes, path) of each."""
        for path in self.folder.glob("*/*.npy"):
            with contextlib.suppress(FileNotFoundError):  # another job's eviction
                status = path.stat()
                yield status.st_mtime, status.st_size, path


class Space:
    """The activations at one place of one network. `row_bytes` is what one image takes."""

    def __init__(self, cache: FeatureCache, folder: Path, record: np.dtype[np.void]) -> None:
        self._cache = cache
        self._folder = folder
        self._record = record
        self._shards: list[Records] = []
        self._places: dict[bytes, tuple[int, int]] = {}  # key -> shard, row
        self.row_bytes = record.itemsize
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.npy")):
            self._map(path)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    @property
    def rows_per_shard(self) -> int:
        """How many images `add` should get at once."""
        return max(1, SHARD_BYTES // self.row_bytes)

    def add(self, keys: Sequence[bytes], tensors: Tensors) -> None:
        """Keep the activations of some images as one shard.

        Args:
            keys: N sha256 digests of the images.
            tensors: by the names that the space was opened with, (N, ...) float32 each.

        Raises:
            StorageFull: the disk filled up meanwhile.
        """
        records = np.empty(len(keys), self._record)
        records["key"] = np.frombuffer(b"".join(keys), f"V{KEY_BYTES}")
        for name, values in tensors.items():
            records[name] = values
        self._cache.make_room(records.nbytes)
        path = self._folder / f"{uuid.uuid4().hex}.npy"
        part = path.with_suffix(PART)
        try:
            with part.open("wb") as file:
                np.save(file, records)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError as error:
            raise StorageFull(
                f"{self._folder.parent} has no room for {records.nbytes} bytes of activations ({error.strerror}); free "
                "some, or lower RIPEN_FEATURE_CACHE_BYTES."
            ) from error
        finally:
            part.unlink(missing_ok=True)
        self._map(path)

    def take(self, keys: Sequence[bytes]) -> dict[str, NDArray[np.float32]]:
        """The activations of some images, copied: name -> (N, ...) float32.

        Raises:
            KeyError: the space does not hold one of them.
        """
        places = [self._places[key] for key in keys]
        taken = {}
        for name in (self._record.names or ())[1:]:
            out = np.empty((len(keys), *self._record[name].shape), np.float32)
            for row, (shard, place) in enumerate(places):
                out[row] = self._shards[shard][name][place]
            taken[name] = out
        return taken

    def _map(self, path: Path) -> None:
        """Map one shard; one that was damaged, or made otherwise, is as good as none."""
        try:
            records = np.load(path, mmap_mode="r")
            os.utime(path)
        except (OSError, ValueError, EOFError):  # gone meanwhile, or damaged
            return
        if records.dtype != self._record or records.ndim != 1:
            return
        for place, key in enumerate(records["key"]):
            self._places[bytes(key)] = (len(self._shards), place)
        self._shards.append(records)
