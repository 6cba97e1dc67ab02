"""Retention: which versions' files stay, and what killed processes left behind. LINE B, after a job.

Runs in the worker while it is idle. Each step says what it removes before it does: a row is marked before its folder
goes, and only what no row names is removed as a leftover. So it may be killed anywhere, and run beside the service.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from contract.errors import RipenError, UnknownModel, VersionInUse
from contract.ports import RESTORE_MARK, Database, Storage
from contract.records import Aspiration, Example, StoredObject, Version

LOG = logging.getLogger(__name__)
ACTOR = "retention"
EVERY_S = 3600.0
AGAIN_S = 60.0  # after a failure
CHUNK = 32  # images held at once
LEFTOVER_AGE = timedelta(hours=1)  # an object is stored before its row, a folder published before it is recorded


@dataclass(frozen=True)
class Freed:
    """What one run removed."""

    versions: int = 0
    folders: int = 0
    objects: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        return (
            f"freed {self.bytes / 1e6:.1f} MB: {self.versions} versions pruned, {self.folders} folders and "
            f"{self.objects} images without a row removed"
        )


class Retention:
    """Removes what is no longer needed, about once an hour and after each job.

    Args:
        keep_versions: how many of a model's newest versions stay; live, previous and pinned ones stay anyway.
        clock: monotonic seconds.
    """

    def __init__(self, database: Database, storage: Storage, *, keep_versions: int, clock: Callable[[], float]) -> None:
        self._database = database
        self._storage = storage
        self._keep_versions = keep_versions
        self._clock = clock
        self._due_s = clock()

    def hasten(self) -> None:
        """A job has ended: run at the next idle moment."""
        self._due_s = self._clock()

    def run_if_due(self) -> None:
        """Run, at most once an hour unless hastened. What fails is logged and tried again."""
        if self._clock() < self._due_s:
            return
        try:
            freed = self.run()
        except RipenError as error:
            LOG.warning("retention: %s: %s", type(error).__name__, error)
            self._due_s = self._clock() + AGAIN_S
            return
        if freed != Freed():
            LOG.info("retention: %s", freed)
        self._due_s = self._clock() + EVERY_S

    def run(self) -> Freed:
        """Prune versions, remove leftovers, sweep the storage's own; nothing while a restore fills the storage."""
        if self._is_being_restored():
            return Freed()
        needed = self._database.aspirations()
        pruned = sum(self._prune(model.name, needed) for model in self._database.list_models())
        folders, folder_bytes = self._remove_folders()
        objects, object_bytes = self._remove_objects()
        swept = self._storage.sweep(
            keep=frozenset(version.storage_key for version in in_use(needed)),
            older_than_s=LEFTOVER_AGE.total_seconds(),
        )
        return Freed(pruned, folders, objects, folder_bytes + object_bytes + swept)

    def _is_being_restored(self) -> bool:
        """A restore's rows come last, all at once; where rows are, a mark is only what a killed one left."""
        marked = self._storage.get(RESTORE_MARK) is not None
        return marked and not self._database.count_examples() and not any(self._all_versions())

    def _prune(self, model: str, needed: list[Aspiration]) -> int:
        count = 0
        for version in spare(self._database.list_versions(model), in_use(needed), self._keep_versions):
            try:
                self._database.prune_version(model, version.number, actor=ACTOR)
            except VersionInUse as error:  # became so a moment ago, or a running job may measure it
                LOG.info("retention: %s", error)
                continue
            count += 1
        return count

    def _remove_folders(self) -> tuple[int, int]:
        """Folders of pruned versions at once; those that no row names once they are old. Returns count and bytes."""
        folders: dict[str, list[StoredObject]] = {}
        for found in self._storage.list_objects("models"):
            models, model, number, *file = found.key.split("/")
            if file:
                folders.setdefault(f"{models}/{model}/{number}", []).append(found)
        rows = {version.storage_key: version for version in self._all_versions()}
        count = size = 0
        for key, files in folders.items():
            pruned = key in rows and rows[key].pruned_at is not None
            if pruned or (key not in rows and self._is_old(files)):
                self._storage.delete_folder(key)
                count, size = count + 1, size + sum(file.size_bytes for file in files)
        return count, size

    def _remove_objects(self) -> tuple[int, int]:
        """Images that no row names. They are listed before the rows are read: a newer row's is not among them."""
        old = {found.key: found for found in self._storage.list_objects("examples") if self._is_old([found])}
        for example in self._examples(after=None) if old else ():
            old.pop(example.storage_key, None)
        keys = list(old)
        for start in range(0, len(keys), CHUNK):
            self._remove_chunk(keys[start : start + CHUNK])
        return len(old), sum(found.size_bytes for found in old.values())

    def _remove_chunk(self, keys: list[str]) -> None:
        """The service may be adding the same images just now: what a row names afterwards is put back."""
        removed = {key: self._storage.get(key) for key in keys}
        for key in keys:
            self._storage.delete(key)
        recently = self._database.now() - LEFTOVER_AGE
        for example in self._examples(after=f"{int(recently.timestamp() * 1e9):016x}"):  # ids begin with their time
            data = removed.get(example.storage_key)
            if data is not None:
                self._storage.put(example.storage_key, data)

    def _examples(self, *, after: str | None) -> Iterator[Example]:
        for model in self._database.list_models():
            with suppress(UnknownModel):  # deleted meanwhile
                yield from self._database.list_examples(model.name, after=after)

    def _all_versions(self) -> Iterator[Version]:
        for model in self._database.list_models():
            with suppress(UnknownModel):  # deleted meanwhile
                yield from self._database.list_versions(model.name)

    def _is_old(self, found: Iterable[StoredObject]) -> bool:
        return _newest(found) < self._database.now() - LEFTOVER_AGE


def in_use(aspirations: Iterable[Aspiration]) -> list[Version]:
    """The versions that serve, and those that a rollback would bring back."""
    return [version for one in aspirations for version in (one.live, one.previous) if version is not None]


def spare(versions: list[Version], needed: Iterable[Version], keep: int) -> list[Version]:
    """Those of a model's versions, newest first, whose files nobody needs any more."""
    numbers = {(version.model, version.number) for version in needed}
    kept = [version for version in versions if version.pruned_at is None]
    return [one for one in kept[keep:] if not one.pinned and (one.model, one.number) not in numbers]


def _newest(found: Iterable[StoredObject]) -> datetime:
    return max(one.modified_at for one in found)
