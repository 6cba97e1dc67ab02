"""Objects as files of one local folder. LINE B steps 1 and 4, below `storage`.

Written by hand because obstore 0.12 never calls fsync for local files (seen with strace): after a power loss, an
example that was acknowledged could be gone or empty. Everything is made under a staging name in the same folder,
synced, and renamed into place; the folders above are synced too. What a crash leaves behind is named `.staging-*`.
"""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from contract.artifact import MANIFEST, sync_folder
from contract.errors import Conflict, StorageFull, StorageUnavailable, UnknownVersion
from contract.records import StoredObject

STAGING = ".staging-"
RESERVE_SHARE, RESERVE_BYTES, RESERVE_INODES = 0.05, 2**30, 1000  # left to the database, and to who repairs things
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


class FolderStorage:
    """`contract.ports.Storage` in one folder; the keys are checked already.

    Writes stop while a reserve of the file system is still free: a database beside it must go on, and a file system
    that is full to the last byte is hard to mend.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with self._translated():
            _make_folder(root)

    def put(self, key: str, data: bytes) -> None:
        """Store `data`, so that it is there after a power loss once this returns."""
        path = self._root / key
        with self._translated(), self._staging() as staging:
            self._check_room(len(data))
            with staging.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _make_folder(path.parent)
            staging.replace(path)
            _sync(path.parent)

    def get(self, key: str) -> bytes | None:
        """The file's bytes, or None."""
        with self._translated():
            try:
                return (self._root / key).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def delete(self, key: str) -> None:
        """Remove one file, if it is there."""
        path = self._root / key
        with self._translated():
            if path.is_file():
                path.unlink(missing_ok=True)
                _sync(path.parent)

    def publish_folder(self, source: Path, key: str) -> None:
        """Rename the folder into place.

        Raises:
            Conflict: something lies there.
        """
        target = self._root / key
        with self._translated():
            self._check_room(0)
            sync_folder(source)
            _make_folder(target.parent)
            if os.path.lexists(target):  # rename would silently replace an empty folder
                raise _occupied(key)
            try:
                self._move(source, target)
            except OSError as error:  # between the look and the rename another one was published: it is not empty
                if error.errno in OCCUPIED and target.exists():
                    raise _occupied(key) from error
                raise
            _sync(target.parent)

    def local_folder(self, key: str) -> Path:
        """The folder itself."""
        path = self._root / key
        if not (path / MANIFEST).is_file():
            raise UnknownVersion(f"Nothing is published at {path}; publish it first.")
        return path

    def delete_folder(self, key: str) -> None:
        """Rename the folder out of sight at once, then remove it."""
        path = self._root / key
        with self._translated(), self._staging() as staging:
            if path.is_dir():
                path.rename(staging)
                _sync(path.parent)

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every file below `prefix`; one that goes meanwhile may be missing."""
        with self._translated():
            for folder, folders, names in os.walk(self._root / prefix):
                folders.sort()
                for name in sorted(names):
                    path = Path(folder) / name
                    with suppress(FileNotFoundError):
                        found = path.stat()
                        modified_at = datetime.fromtimestamp(found.st_mtime, UTC)
                        yield StoredObject(path.relative_to(self._root).as_posix(), found.st_size, modified_at)

    def free_bytes(self) -> int | None:
        """What may be written until only the reserve is left."""
        with self._translated():
            return free_beyond_reserve(self._root)

    def sweep(self, *, keep: frozenset[str], older_than_s: float) -> int:
        """Remove the staging of killed writes; there are no copies."""
        del keep
        with self._translated():
            return remove_staging(self._root, older_than_s)

    def check(self) -> None:
        """Nothing beyond what `storage` checks with a probe object."""

    def _check_room(self, size_bytes: int) -> None:
        if free_beyond_reserve(self._root) <= size_bytes:
            raise StorageFull(
                f"No space is left in {self._root}, except a reserve that is kept free; free some, then try again."
            )

    def _move(self, source: Path, target: Path) -> None:
        try:
            source.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with self._staging() as staging:  # another file system: copy into this one first
                shutil.copytree(source, staging)
                sync_folder(staging)
                staging.rename(target)
            shutil.rmtree(source, ignore_errors=True)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A name of our own in this file system; whatever still has it afterwards is removed."""
        path = self._root / f"{STAGING}{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StorageFull(f"No space is left in {self._root}; free some, then try again.") from error
            raise StorageUnavailable(
                f"The storage folder {self._root} cannot be used: {error.strerror or error} ({error.filename}). "
                "Check that it exists and that this user may read and write in it."
            ) from error


def free_beyond_reserve(folder: Path) -> int:
    """Bytes that may be written until only the reserve is left; 0 where the inodes are down to theirs."""
    found = os.statvfs(folder)
    inodes_kept = min(int(found.f_files * RESERVE_SHARE), RESERVE_INODES)
    if found.f_files and found.f_favail <= inodes_kept:  # file systems without a limit say 0 files
        return 0
    kept = min(int(found.f_blocks * found.f_frsize * RESERVE_SHARE), RESERVE_BYTES)
    return max(0, found.f_bavail * found.f_frsize - kept)


def remove_staging(root: Path, older_than_s: float) -> int:
    """Remove what killed writes left in `root` that nobody has touched for so long; returns the bytes that freed."""
    freed, until = 0, time.time() - older_than_s
    for path in root.glob(f"{STAGING}*"):
        with suppress(FileNotFoundError):  # its writer is alive and just finished
            files = [path, *path.rglob("*")]
            if max(file.lstat().st_mtime for file in files) < until:
                freed += sum(file.lstat().st_size for file in files if not file.is_dir())
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return freed


def _occupied(key: str) -> Conflict:
    return Conflict(f"Something is published under {key!r} already; take another number.")


def _make_folder(folder: Path) -> None:
    """mkdir -p whose new entries survive a power loss."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
