"""A file that is there whole or not at all, and that nothing replaces. Neither line: `backup` writes into it."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from contract.errors import Conflict, StorageFull, StorageUnavailable


@contextmanager
def new_file(file: Path) -> Iterator[BinaryIO]:
    """Write `<file>.part`, readable by this user alone; it gets its name once it is whole and on the disk.

    Raises:
        Conflict: `file` exists, or is being written.
        StorageFull, StorageUnavailable: it cannot be written.
    """
    _refuse_existing(file)
    part = file.with_name(f"{file.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "wb") as stream:
            _lock(part, stream)
            try:
                stream.truncate()
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                _refuse_existing(file)
                part.rename(file)
            finally:
                part.unlink(missing_ok=True)
            _sync(file.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"No space is left for {file}; free some, or write the backup elsewhere.") from error
        raise StorageUnavailable(
            f"{file} cannot be written ({error.strerror or error}); name a file in a folder that can be."
        ) from error


def _refuse_existing(file: Path) -> None:
    if os.path.lexists(file):
        raise Conflict(f"{file} exists already; name another file, or remove that one.")


def _lock(part: Path, stream: BinaryIO) -> None:
    """Of two that write the same file the second is refused; what a killed one left is taken over."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = os.path.samestat(os.fstat(stream.fileno()), part.stat())  # else the first was just renamed
    except (BlockingIOError, FileNotFoundError):
        mine = False
    if not mine:
        raise Conflict(f"Another backup is being written to {part}; wait for it, or name another file.")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
