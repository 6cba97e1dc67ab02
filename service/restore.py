"""`ripen restore`: a backup into an empty place, all of it or nothing. Neither line.

The file is read twice: once whole, to compare it with its index, then into the storage. The rows come last, in one
transaction; until then nothing names what was written. One restore runs in a home at a time. Jobs that were running
are claimed again by the first worker, as after any worker's end.
"""

import errno
import fcntl
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

from contract.errors import Conflict, NotEmpty, RipenError, StorageFull, StorageUnavailable
from contract.ports import RESTORE_MARK, Database, Storage
from service import backup_archive as archive
from service.backup_archive import BLOCK, ROWS, Entry, OnProgress

MARK = RESTORE_MARK  # what a killed restore left may be removed by the next one
PLACES = ("examples", "models")
LOCK, STAGING = "restore.lock", "restore-staging"  # in the home; the lock's holder alone touches MARK and STAGING


@dataclass(frozen=True)
class Restored:
    """What was restored."""

    file: str
    seconds: float
    examples: int
    versions: int


def restore_backup(
    file: Path, database: Database, storage: Storage, *, home: Path, on_progress: OnProgress
) -> Restored:
    """Restore everything of `file`.

    Raises:
        InvalidRequest: it is no backup, or not whole.
        NotEmpty: there are data already, or another restore is running.
        StorageFull, StorageUnavailable, DatabaseUnavailable
    """
    with _alone(home) as staging:
        return _restore(file, database, storage, staging, on_progress)


def _restore(file: Path, database: Database, storage: Storage, staging: Path, on_progress: OnProgress) -> Restored:
    began = time.monotonic()
    _refuse_rows(database)
    size = file.stat().st_size if file.is_file() else 0
    index = archive.check(file, lambda done, _: on_progress(done, 2 * size))
    objects = [entry for entry in index.values() if entry.key is not None]
    folders = {folder for entry in objects if (folder := _folder(entry)) is not None}
    with _only_whole(database, storage) as filling:
        free = storage.free_bytes()
        needed = sum(entry.size_bytes for entry in objects)
        if free is not None and free < needed:
            raise StorageFull(f"{file} needs {needed} bytes, and {free} are free; free some, then try again.")
        _store(file, filling, staging, lambda done: on_progress(size + done, 2 * size))
        with closing(_rows(file)) as rows:
            database.import_rows(rows)
    return Restored(
        file=str(file),
        seconds=round(time.monotonic() - began, 3),
        examples=sum(_folder(entry) is None for entry in objects),
        versions=len(folders),
    )


@contextmanager
def _alone(home: Path) -> Iterator[Path]:
    """Keep every other restore into this home out; gives a work folder, and removes what a killed one left there."""
    staging = home / STAGING
    try:
        with (home / LOCK).open("ab") as lock:
            _take(lock, home)
            if staging.exists():
                shutil.rmtree(staging)
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"No space is left in {home}; free some, then try again.") from error
        raise StorageUnavailable(
            f"{home} cannot be used ({error.strerror or error}); name a home that can be written with --home."
        ) from error


def _take(lock: IO[bytes], home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise NotEmpty(f"A restore into {home} is running; wait for it, or name another home (--home).") from error


def _has_rows(database: Database) -> bool:
    return bool(database.list_models() or database.list_keys() or database.list_audit(limit=1))


def _refuse_rows(database: Database) -> None:
    if _has_rows(database):
        raise NotEmpty(
            "The database has rows already; restore into a new home (--home), or into a new database and storage."
        )


class _Filling:
    """What a restore stores, to be taken back while nobody else has begun to work with the place."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage
        self._stored: dict[str, Callable[[str], None]] = {}  # key -> what removes it

    def put(self, key: str, data: bytes) -> None:
        """Store an image."""
        self._stored[key] = self._storage.delete
        self._storage.put(key, data)

    def publish(self, source: Path, key: str) -> None:
        """Store a version's folder."""
        self._stored[key] = self._storage.delete_folder  # before: in a bucket, a part of it may get there
        try:
            self._storage.publish_folder(source, key)
        except Conflict:
            del self._stored[key]  # somebody else's
            raise

    def adopt(self) -> None:
        """Take everything for ours: a killed restore left it."""
        images, files = (list(self._storage.list_objects(place)) for place in PLACES)
        self._stored |= {found.key: self._storage.delete for found in images}
        self._stored |= {"/".join(found.key.split("/")[:3]): self._storage.delete_folder for found in files}

    def take_back(self) -> None:
        """Remove it; nothing more once there are rows: they are a service's that was started meanwhile."""
        while self._stored and not _has_rows(self._database):
            key, remove = self._stored.popitem()
            remove(key)


@contextmanager
def _only_whole(database: Database, storage: Storage) -> Iterator[_Filling]:
    """What is stored meanwhile goes again unless the end is reached; what could not go, the next restore removes."""
    filling = _Filling(database, storage)
    if storage.get(MARK) is not None:
        filling.adopt()
        filling.take_back()
        _refuse_rows(database)
    elif any(True for place in PLACES for _ in storage.list_objects(place)):
        raise NotEmpty("The storage has objects already; restore into a new home (--home), or into a new storage.")
    storage.put(MARK, b"")
    try:
        yield filling
    except BaseException:
        with suppress(RipenError):  # the mark stays then
            filling.take_back()
            storage.delete(MARK)
        raise
    storage.delete(MARK)


def _store(file: Path, filling: _Filling, staging: Path, on_stored: Callable[[int], None]) -> None:
    """Images one by one; each version's folder as a whole."""
    done = 0
    with closing(archive.read_members(file)) as whole:
        for folder, members in groupby(whole, key=lambda member: _folder(member[0])):
            for entry, stream in members:
                if entry.key is not None and folder is None:
                    filling.put(entry.key, stream.read(entry.size_bytes))
                elif entry.key is not None:
                    _write(staging / entry.key, stream)
                done += entry.size_bytes
                on_stored(done)
            if folder is not None:
                filling.publish(staging / folder, folder)


def _folder(entry: Entry) -> str | None:
    """The storage key of the version that a member is a file of."""
    if entry.key is None or not entry.key.startswith("models/"):
        return None
    return "/".join(entry.key.split("/")[:3])


def _write(path: Path, stream: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        shutil.copyfileobj(stream, target, BLOCK)


def _rows(file: Path) -> Generator[tuple[str, bytes], None, None]:
    with closing(archive.read_members(file)) as members:
        for entry, stream in members:
            if entry.name == ROWS:
                yield from archive.read_rows(stream)
