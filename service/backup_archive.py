"""The file of a backup: a plain tar whose last member lists the size and sha256 of all others. Neither line.

backup.json      what it is: its format, when it was made
objects/<key>    the storage's objects: examples/<model>/..., models/<model>/<number>/<file>
rows.jsonl       the database, one [table, row] per line
index.jsonl      one entry per member before it

Nothing of it is used before all of it was read once and agrees with its index.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, TypeVar

import msgspec

from contract.errors import InvalidRequest
from contract.records import NAME_PATTERN

T = TypeVar("T")
FORMAT = 1
HEADER, ROWS, INDEX = "backup.json", "rows.jsonl", "index.jsonl"
OBJECTS = "objects/"
PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}"
KEY = re.compile(rf"examples/{NAME_PATTERN}/[0-9a-f]{{2}}/[0-9a-f]{{64}}|models/{NAME_PATTERN}/[0-9]{{1,10}}(/{PART})+")
BLOCK = 2**20
MAX_IMAGE_BYTES = 2**30  # an image is stored as one piece of memory; RIPEN_MAX_IMAGE_BYTES allows no more
OnProgress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class Header:
    """What the archive says of itself."""

    format: int
    created_at: str


@dataclass(frozen=True)
class Entry:
    """One member as the index lists it."""

    name: str
    size_bytes: int
    sha256: str

    @property
    def key(self) -> str | None:
        """The storage key of an object; None for the other members."""
        return self.name.removeprefix(OBJECTS) if self.name.startswith(OBJECTS) else None


class Hashing:
    """A stream that digests what is read from it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes."""
        block = self._source.read(size)
        self._hash.update(block)
        return block

    @property
    def sha256(self) -> str:
        """Of all that was read so far, in hex."""
        return self._hash.hexdigest()


class ArchiveWriter:
    """Writes members one after the other, and the index at the end."""

    def __init__(self, file: BinaryIO, created_at: str) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w")  # noqa: SIM115  # `close` writes the index first
        self._entries: list[Entry] = []
        self.add_bytes(HEADER, msgspec.json.encode(Header(FORMAT, created_at)))

    def add(self, name: str, source: IO[bytes], size_bytes: int) -> Entry:
        """Add `size_bytes` of a stream, which must hold as many."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = size_bytes, 0o600
        hashing = Hashing(source)
        self._tar.addfile(member, hashing)
        self._entries.append(Entry(name, size_bytes, hashing.sha256))
        return self._entries[-1]

    def add_bytes(self, name: str, data: bytes) -> Entry:
        """Add what is in memory."""
        return self.add(name, io.BytesIO(data), len(data))

    def close(self) -> None:
        """Write the index and the end of the file."""
        self.add_bytes(INDEX, b"".join(msgspec.json.encode(entry) + b"\n" for entry in self._entries))
        self._tar.close()


def check(file: Path, on_progress: OnProgress) -> dict[str, Entry]:
    """Read the whole archive, compare it with its index, and return that by name.

    Raises:
        InvalidRequest: it is no backup, of a newer format, not whole, altered, or has names that no backup has.
    """
    found: dict[str, Entry] = {}
    listed: list[Entry] = []
    with _translated(file):
        total = file.stat().st_size
        with closing(_members(file)) as members:
            for position, name, size_bytes, stream in members:
                if not found:
                    _check_header(file, name, stream)
                if name in found or listed:
                    raise _refuse(file, f"its member {name!r} is there twice, or after the index")
                if name == INDEX:
                    listed = [_decode(line, Entry, file) for line in stream]
                    continue
                found[name] = Entry(name, size_bytes, _digest(stream))
                on_progress(position, total)
    if not listed or {entry.name: entry for entry in listed} != found or ROWS not in found:
        raise _refuse(file, "it is not whole, or altered: it does not agree with its index")
    return found


def read_members(file: Path) -> Generator[tuple[Entry, IO[bytes]], None, None]:
    """Each member before the index, with its stream; an entry's digest is not known yet and empty.

    The file is open until the generator ends or is closed.
    """
    with closing(_members(file)) as members:
        for _, name, size_bytes, stream in members:
            if name != INDEX:
                yield Entry(name, size_bytes, ""), stream


def read_rows(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """The database's rows out of their member: (table, JSON object)."""
    for line in stream:
        table, row = msgspec.json.decode(line, type=tuple[str, msgspec.Raw])
        yield table, bytes(row)


def is_name(name: str) -> bool:
    """Whether a backup may have a member of that name: what is no key of ours could leave the storage."""
    if name in (HEADER, ROWS, INDEX):
        return True
    return name.startswith(OBJECTS) and KEY.fullmatch(name.removeprefix(OBJECTS)) is not None


def _members(file: Path) -> Generator[tuple[int, str, int, IO[bytes]], None, None]:
    with _translated(file), tarfile.open(file, mode="r:") as tar:
        total = file.stat().st_size
        while (member := tar.next()) is not None:
            _check_member(file, member, total)
            stream = tar.extractfile(member)
            assert stream is not None, "a plain file has a stream"
            yield member.offset, member.name, member.size, stream
            tar.members.clear()  # type: ignore[attr-defined]  # typeshed leaves it out; else all stay in memory


def _check_member(file: Path, member: tarfile.TarInfo, total: int) -> None:
    """Only plain ones, whose bytes are all in the file: a sparse one of 10 KiB may claim to be gigabytes."""
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    if not plain or not is_name(member.name):
        raise _refuse(file, f"no backup has a member like {member.name[:200]!r}")
    if not 0 <= member.size <= total - member.offset_data:
        raise _refuse(file, f"its member {member.name!r} says {member.size} bytes, more than are left in the file")
    if member.name.startswith(f"{OBJECTS}examples/") and member.size > MAX_IMAGE_BYTES:
        raise _refuse(file, f"its image {member.name!r} has {member.size} bytes; at most {MAX_IMAGE_BYTES} are read")


def _check_header(file: Path, name: str, stream: IO[bytes]) -> None:
    if name != HEADER:
        raise _refuse(file, f"it does not begin with {HEADER}")
    header = _decode(stream.read(BLOCK), Header, file)
    stream.seek(0)
    if header.format != FORMAT:
        raise _refuse(file, f"its format is {header.format}, this release reads {FORMAT}; use the release that made it")


def _digest(stream: IO[bytes]) -> str:
    hashing = Hashing(stream)
    while hashing.read(BLOCK):
        pass
    return hashing.sha256


def _decode(text: bytes, kind: type[T], file: Path) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise _refuse(file, f"{error}") from error


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise _refuse(file, f"{error}") from error
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read ({error.strerror or error}); expected a backup.") from error


def _refuse(file: Path, because: str) -> InvalidRequest:
    return InvalidRequest(f"{file} cannot be restored: {because}. Expected a file that `ripen backup` wrote.")
