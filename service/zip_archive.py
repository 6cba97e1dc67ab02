"""A zip file of strangers: its directory checked whole, then one entry read at a time, bounded. LINE B step 1.

Python's `zipfile` believes the directory: it reads overlapping entries, follows lying sizes, renames `../x` in silence.
Here the directory, every local header and where the entries lie must agree before a byte is inflated.
Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, without encryption, several disks and zip64.
"""

import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO

from contract.errors import ArchiveTooLarge, InvalidArchive

END = struct.Struct("<4s4H2LH")  # signature, disk, its directory, entries here, in all, size, offset, comment
DIRECTORY = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
END_SIGNATURE, DIRECTORY_SIGNATURE, LOCAL_SIGNATURE = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
MAX_COMMENT = 2**16 - 1
ENCRYPTED, DESCRIPTOR, UTF8 = 1 << 0 | 1 << 6 | 1 << 13, 1 << 3, 1 << 11
STORED, DEFLATED = 0, 8
DESCRIPTOR_BYTES = 12  # at least; with a signature 16
ZIP64 = 2**32 - 1
MAX_NAME_BYTES = 1024
MAX_DIRECTORY_BYTES = 8 * 2**20
MAX_RATIO = 200
RATIO_FROM_BYTES = 2**20  # one grey picture may shrink as well, but not to this much
PIECE_BYTES = 2**16
SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True)
class ArchiveLimits:
    """What is refused before anything is inflated."""

    max_entries: int
    max_total_bytes: int


@dataclass(frozen=True)
class Entry:
    """One file in a checked archive. `position` counts all entries from 1, as `unzip -l` lists them."""

    position: int
    name: str
    data_offset: int
    compressed_bytes: int
    size_bytes: int
    crc: int
    deflated: bool

    @property
    def place(self) -> str:
        """Where it is, in words that are safe to print."""
        return _place(self.position, self.name)


@dataclass(frozen=True)
class _Row:
    """One row of the directory."""

    position: int
    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed_bytes: int
    size_bytes: int
    mode: int
    offset: int

    @property
    def name(self) -> str:
        return _decoded(self.raw_name, utf8=bool(self.flags & UTF8))

    @property
    def place(self) -> str:
        return _place(self.position, self.name)

    @property
    def is_folder(self) -> bool:
        return self.raw_name.endswith(b"/")


def read_directory(file: IO[bytes], limits: ArchiveLimits) -> tuple[Entry, ...]:
    """Check the whole directory of a zip file; return its files, without folders.

    Raises:
        InvalidArchive: not one plain zip file, or one that contradicts itself; says where.
        ArchiveTooLarge: more entries or bytes than the limits, or too good to be true.
    """
    count, directory_offset, size = _end(file)
    _check_directory_size(count, size, limits)
    file.seek(directory_offset)
    rows = _rows(file.read(size), count)
    for row in rows:
        _check_row(row)
    _check_names_differ(rows)
    _check_sizes(rows, limits)
    starts = [_check_local(file, row) for row in rows]
    _check_no_overlap(rows, starts, directory_offset)
    return tuple(
        Entry(row.position, row.name, start, row.compressed_bytes, row.size_bytes, row.crc, row.method == DEFLATED)
        for row, start in zip(rows, starts, strict=True)
        if not row.is_folder
    )


def read_entry(file: IO[bytes], entry: Entry) -> bytes:
    """The bytes of one file, never more than its directory entry says.

    Raises:
        InvalidArchive: they are more, fewer or others than it says.
    """
    file.seek(entry.data_offset)
    data = _inflate(file, entry) if entry.deflated else file.read(entry.compressed_bytes)
    if len(data) != entry.size_bytes or zlib.crc32(data) != entry.crc:
        raise InvalidArchive(f"{entry.place}: its bytes are not those that the directory tells of (size or CRC).")
    return data


def _check_directory_size(count: int, size: int, limits: ArchiveLimits) -> None:
    if count > limits.max_entries:
        raise ArchiveTooLarge(f"The archive has {count} entries; at most {limits.max_entries} are accepted.")
    if not count:
        raise InvalidArchive("The archive is empty; expected images in one folder per class.")
    if size > MAX_DIRECTORY_BYTES:
        raise ArchiveTooLarge(f"The archive's directory has {size} bytes; at most {MAX_DIRECTORY_BYTES} are accepted.")


def _rows(directory: bytes, count: int) -> list[_Row]:
    rows = []
    at = 0
    for position in range(1, count + 1):
        row, at = _row(directory, at, position)
        rows.append(row)
    if at != len(directory):
        raise InvalidArchive(f"The archive's directory has {len(directory)} bytes, but its entries fill {at}.")
    return rows


def _end(file: IO[bytes]) -> tuple[int, int, int]:
    """The number of entries, and the directory's offset and size; they must fill the file together with its end."""
    length = file.seek(0, 2)
    start = max(0, length - END.size - MAX_COMMENT)
    file.seek(start)
    tail = file.read()
    found = tail.rfind(END_SIGNATURE, 0, max(0, len(tail) - END.size + len(END_SIGNATURE)))
    if found < 0:
        raise InvalidArchive("This is not a zip file, or its end is missing; expected a whole one.")
    _, disk, first_disk, here, count, size, offset, comment = END.unpack_from(tail, found)
    if ZIP64 in (size, offset) or count == 2**16 - 1:
        raise InvalidArchive("The archive uses zip64; expected a plain zip file below 4 GiB.")
    if (disk, first_disk, here) != (0, 0, count):
        raise InvalidArchive("The archive is spread over several files; expected one.")
    if found + END.size + comment != len(tail) or offset + size != start + found:
        raise InvalidArchive("The archive's directory is not where its end says; expected nothing before or behind it.")
    return count, offset, size


def _row(directory: bytes, at: int, position: int) -> tuple[_Row, int]:
    """The row at `at`, and where the next one begins."""
    if len(directory) < at + DIRECTORY.size or directory[at : at + 4] != DIRECTORY_SIGNATURE:
        raise InvalidArchive(f"The archive's directory breaks off at entry {position}.")
    parts = DIRECTORY.unpack_from(directory, at)
    _, _, _, flags, method, _, _, crc, packed, size, name_length, extra, comment, disk, _, attributes, offset = parts
    name_at = at + DIRECTORY.size
    following = name_at + name_length + extra + comment
    if disk or following > len(directory):
        raise InvalidArchive(f"The archive's directory breaks off at entry {position}.")
    raw_name = directory[name_at : name_at + name_length]
    return _Row(position, raw_name, flags, method, crc, packed, size, attributes >> 16, offset), following


def _check_row(row: _Row) -> None:
    """Raise InvalidArchive for a name, kind or method that cannot be a picture of ours."""
    _check_name(row)
    kind = stat.S_IFMT(row.mode)
    if kind not in (0, stat.S_IFDIR if row.is_folder else stat.S_IFREG):
        raise InvalidArchive(f"{row.place}: a link or device; expected plain files and folders.")
    if not row.is_folder and row.mode & SPECIAL_BITS:
        raise InvalidArchive(f"{row.place}: a file with setuid or setgid; expected plain files.")
    if row.flags & ENCRYPTED:
        raise InvalidArchive(f"{row.place}: encrypted; expected an archive without a password.")
    if row.method not in (STORED, DEFLATED):
        raise InvalidArchive(f"{row.place}: compression method {row.method}; expected stored or deflated.")
    if ZIP64 in (row.size_bytes, row.compressed_bytes, row.offset):
        raise InvalidArchive(f"{row.place}: its sizes are zip64's; expected a plain zip file below 4 GiB.")


def _check_name(row: _Row) -> None:
    name = row.name
    parts = name.removesuffix("/").split("/")
    if len(row.raw_name) > MAX_NAME_BYTES or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise InvalidArchive(f"{row.place}: the name is too long or has control characters.")
    if "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise InvalidArchive(f"{row.place}: the name leads out of the archive; expected folder/file with plain names.")


def _check_names_differ(rows: Sequence[_Row]) -> None:
    names: set[str] = set()
    for row in rows:
        plain = unicodedata.normalize("NFC", row.name).casefold().rstrip("/")
        if plain in names:
            raise InvalidArchive(f"{row.place}: the name comes twice (case does not count); expected each file once.")
        names.add(plain)


def _check_sizes(rows: Sequence[_Row], limits: ArchiveLimits) -> None:
    total = sum(row.size_bytes for row in rows)
    if total > limits.max_total_bytes:
        raise ArchiveTooLarge(f"The archive unpacks to {total} bytes; at most {limits.max_total_bytes} are accepted.")
    for row in rows:
        packed, size = row.compressed_bytes, row.size_bytes
        if size > RATIO_FROM_BYTES and size > packed * MAX_RATIO:
            raise ArchiveTooLarge(
                f"{row.place}: {packed} bytes unpack to {size}; at most {MAX_RATIO} times as much may."
            )
        most = size if row.method == STORED else size + size // 1000 + 64  # deflate adds 5 bytes per 64 KiB at worst
        if packed > most or (row.method == STORED and packed != size) or (row.is_folder and size):
            raise InvalidArchive(f"{row.place}: its sizes contradict each other.")


def _check_local(file: IO[bytes], row: _Row) -> int:
    """Compare an entry's own header with its row; return where its bytes begin."""
    file.seek(row.offset)
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size or header[:4] != LOCAL_SIGNATURE:
        raise InvalidArchive(f"{row.place}: there is no entry where the directory says.")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra = LOCAL.unpack(header)
    same = (flags, method, file.read(name_length)) == (row.flags, row.method, row.raw_name)
    later = flags & DESCRIPTOR or ZIP64 in (packed, size)  # behind the data, or in an extra field
    if not same or not (later or (crc, packed, size) == (row.crc, row.compressed_bytes, row.size_bytes)):
        raise InvalidArchive(f"{row.place}: its own header says another name, size or method than the directory.")
    return row.offset + LOCAL.size + len(row.raw_name) + int(extra)


def _check_no_overlap(rows: Sequence[_Row], starts: Sequence[int], directory_offset: int) -> None:
    """Raise InvalidArchive where two entries share bytes, or one reaches into the directory."""
    spans = sorted(
        (row.offset, start + row.compressed_bytes + (DESCRIPTOR_BYTES if row.flags & DESCRIPTOR else 0), row.place)
        for row, start in zip(rows, starts, strict=True)
    )
    spans.append((directory_offset, directory_offset, ""))
    for (_, end, place), (following, _, _) in pairwise(spans):
        if end > following:
            raise InvalidArchive(f"{place}: it shares bytes with another entry; expected each entry for itself.")


def _inflate(file: IO[bytes], entry: Entry) -> bytes:
    """At most one byte more than the entry's size, so that a longer one shows."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces = bytearray()
    try:
        for piece in _pieces(file, entry.compressed_bytes):
            rest = piece
            while rest and len(pieces) <= entry.size_bytes:
                pieces += inflater.decompress(rest, entry.size_bytes + 1 - len(pieces))
                rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise InvalidArchive(f"{entry.place}: its bytes cannot be inflated; they are truncated or corrupt.") from error
    if not inflater.eof or inflater.unused_data:
        raise InvalidArchive(f"{entry.place}: its bytes end sooner or later than the directory says.")
    return bytes(pieces)


def _pieces(file: IO[bytes], count: int) -> Iterator[bytes]:
    while count and (piece := file.read(min(PIECE_BYTES, count))):
        yield piece
        count -= len(piece)


def _decoded(raw_name: bytes, *, utf8: bool) -> str:
    """A name as text: UTF-8 where it says or looks so (macOS does not say it), else the format's first code page."""
    try:
        return raw_name.decode()
    except UnicodeDecodeError:
        return raw_name.decode("ascii", "backslashreplace") if utf8 else raw_name.decode("cp437")


def _place(position: int, name: str) -> str:
    return f"Entry {position} of the archive ({name[-80:]!a})"
