"""`ripen restore`: a backup into an empty place, all of it or nothing. Neither line.

The file is read twice: once whole, to compare it with its index, then into the storage. The rows come last, in one
transaction; until then nothing names what was written. Jobs that were running are claimed again by the first worker,
as after any worker's end.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

from contract.errors import NotEmpty, StorageFull
from contract.ports import Database, Storage
from service import backup_archive as archive
from service.backup_archive import BLOCK, ROWS, Entry, OnProgress

MARK = "restore-unfinished"  # an object: what a killed restore left may be removed by the next one
PLACES = ("examples", "models")


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
        NotEmpty: there are data already.
        StorageFull, StorageUnavailable, DatabaseUnavailable
    """
    began = time.monotonic()
    _refuse_rows(database)
    size = file.stat().st_size if file.is_file() else 0
    index = archive.check(file, lambda done, _: on_progress(done, 2 * size))
    objects = [entry for entry in index.values() if entry.key is not None]
    folders = {folder for entry in objects if (folder := _folder(entry)) is not None}
    with _only_whole(storage):
        free = storage.free_bytes()
        needed = sum(entry.size_bytes for entry in objects)
        if free is not None and free < needed:
            raise StorageFull(f"{file} needs {needed} bytes, and {free} are free; free some, then try again.")
        with tempfile.TemporaryDirectory(prefix="restore-", dir=home) as staging:
            _store(file, storage, Path(staging), lambda done: on_progress(size + done, 2 * size))
        database.import_rows(_rows(file))
    return Restored(
        file=str(file),
        seconds=round(time.monotonic() - began, 3),
        examples=sum(_folder(entry) is None for entry in objects),
        versions=len(folders),
    )


def _refuse_rows(database: Database) -> None:
    if database.list_models() or database.list_keys() or database.list_audit(limit=1):
        raise NotEmpty(
            "The database has rows already; restore into a new home (--home), or into a new database and storage."
        )


@contextmanager
def _only_whole(storage: Storage) -> Iterator[None]:
    """What is stored meanwhile goes again unless the end is reached; after a kill, the next restore removes it."""
    marked = storage.get(MARK) is not None
    if not marked and any(True for place in PLACES for _ in storage.list_objects(place)):
        raise NotEmpty("The storage has objects already; restore into a new home (--home), or into a new storage.")
    storage.put(MARK, b"")
    _clear(storage)
    try:
        yield
    except BaseException:
        _clear(storage)
        raise
    finally:
        storage.delete(MARK)


def _clear(storage: Storage) -> None:
    """Remove everything that a restore may have stored."""
    for found in list(storage.list_objects("examples")):
        storage.delete(found.key)
    for folder in sorted({"/".join(found.key.split("/")[:3]) for found in storage.list_objects("models")}):
        storage.delete_folder(folder)


def _store(file: Path, storage: Storage, staging: Path, on_stored: Callable[[int], None]) -> None:
    """Images one by one; each version's folder as a whole."""
    done = 0
    for folder, members in groupby(archive.read_members(file), key=lambda member: _folder(member[0])):
        for entry, stream in members:
            if entry.key is not None and folder is None:
                storage.put(entry.key, stream.read())
            elif entry.key is not None:
                _write(staging / entry.key, stream)
            done += entry.size_bytes
            on_stored(done)
        if folder is not None:
            storage.publish_folder(staging / folder, folder)


def _folder(entry: Entry) -> str | None:
    """The storage key of the version that a member is a file of."""
    if entry.key is None or not entry.key.startswith("models/"):
        return None
    return "/".join(entry.key.split("/")[:3])


def _write(path: Path, stream: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        shutil.copyfileobj(stream, target, BLOCK)


def _rows(file: Path) -> Iterator[tuple[str, bytes]]:
    for entry, stream in archive.read_members(file):
        if entry.name == ROWS:
            yield from archive.read_rows(stream)
