"""Zip files as good tools write them, and as bad people do: every field of every header may be told otherwise."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

REGULAR = 0o100644


def good_zip(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """What Python's own writer makes of them."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


@dataclass(frozen=True)
class Member:
    """One entry. What is None is told truly; `local_*` is what its own header says, the others the directory."""

    name: bytes
    data: bytes = b""
    method: int = 8
    flags: int = 0
    mode: int = REGULAR
    packed: bytes | None = None
    crc: int | None = None
    size: int | None = None
    packed_size: int | None = None
    offset: int | None = None
    local_name: bytes | None = None
    local_size: int | None = None

    def change(self, **changes: object) -> "Member":
        """The same with some fields changed."""
        return replace(self, **changes)


def made_zip(members: Sequence[Member], *, comment: bytes = b"", **end: int) -> bytes:
    """An archive of these; `end` tells otherwise at its end: `count`, `size`, `offset`."""
    body, directory = b"", b""
    for one in members:
        packed = _packed(one)
        crc = zlib.crc32(one.data) if one.crc is None else one.crc
        size = len(one.data) if one.size is None else one.size
        packed_size = len(packed) if one.packed_size is None else one.packed_size
        offset = len(body) if one.offset is None else one.offset
        local_name = one.name if one.local_name is None else one.local_name
        local_size = size if one.local_size is None else one.local_size
        if one.offset is None:
            fields = (20, one.flags, one.method, 0, 0, crc, packed_size, local_size, len(local_name), 0)
            body += struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields) + local_name + packed
        fields = (3 << 8 | 20, 20, one.flags, one.method, 0, 0, crc, packed_size, size, len(one.name), 0, 0, 0, 0)
        directory += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields, one.mode << 16, offset) + one.name
    count = end.get("count", len(members))
    size, offset = end.get("size", len(directory)), end.get("offset", len(body))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, offset, len(comment))
    return body + directory + tail + comment


def _packed(one: Member) -> bytes:
    if one.packed is not None:
        return one.packed
    if one.method != 8:
        return one.data
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(one.data) + deflater.flush()
