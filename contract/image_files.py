"""The files around pixels: segments of JPEG, chunks of PNG and WebP. LINE A step 5, LINE B step 1.

Read without decoding, before each decode: Pillow walks segments and chunks one by one in Python, takes a JPEG
without its end, and skips the checksums of PNG's data.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from contract.errors import InvalidImage

MAX_HEAD_SEGMENTS = 1_000  # before a photo's scan there are about ten; an ICC profile may fill 255
MAX_PARTS = 10_000  # segments or chunks; libpng writes data in pieces of 8 KB
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # not stuffing, not a restart, not fill
BASELINE, EXTENDED = 0xC0, 0xC1  # frames whose scans are not refined by later ones
END, SCAN, APP0, APP1, APP2, APP14, APP15, COMMENT = 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
NEEDED_SEGMENTS = ((APP0, b"JFIF\x00"), (APP2, b"ICC_PROFILE\x00"), (APP14, b"Adobe"))  # colours depend on them
NEEDED_CHUNKS = (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT")  # and all that begin with a capital
NEEDED_WEBP = (b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L")
WEBP_EXIF, WEBP_XMP = 0x08, 0x04  # flags of VP8X

Part = tuple[bytes, bytes]


@dataclass(frozen=True)
class JpegHead:
    """What stands before a JPEG's coded pixels; the defaults where that cannot be told.

    Attributes:
        one_scan: one scan holds every component, so a decoder passes over them once and misses the end itself.
        metadata: there is EXIF or XMP, which may hold an orientation.
    """

    one_scan: bool = False
    metadata: bool = True


def read_jpeg_head(data: bytes) -> JpegHead:
    """Walk over the segments before the first scan, which is all that an ordinary photo costs; never raises."""
    at, components, metadata = len(JPEG_START), 0, False
    for _ in range(MAX_HEAD_SEGMENTS):
        segment = data[at : at + 10]
        if len(segment) < 10 or segment[0] != 0xFF:
            break
        kind = segment[1]
        if kind == SCAN:
            return JpegHead(components == segment[4] > 0, metadata)
        if kind in (BASELINE, EXTENDED):
            components = segment[9]
        metadata |= kind == APP1
        at += 2 + int.from_bytes(segment[2:4], "big")
    return JpegHead()


def check_whole(data: bytes) -> None:
    """Refuse a JPEG or PNG without its end, with a broken checksum or with thousands of parts.

    Raises:
        InvalidImage: says what is wrong. Other formats pass: their decoders look themselves.
    """
    if data.startswith(JPEG_START):
        for _ in _segments(data):
            pass
    elif data.startswith(PNG_START):
        for _ in _chunks(data):
            pass


def without_metadata(data: bytes, format: str, orientation: int) -> bytes:
    """The same picture without where, when and by whom: of EXIF only the orientation; no XMP, comments, thumbnails.

    Whatever stands behind the picture goes too. The pixels are not touched, and the same file always gives the same
    bytes.

    Args:
        data: an image that `inspect` has accepted.
        format: JPEG, PNG or WEBP.
        orientation: the EXIF orientation, 1-8.

    Raises:
        InvalidImage: its parts cannot be told from each other.
    """
    exif = _orientation_only(orientation) if orientation != 1 else b""
    return {"JPEG": _bare_jpeg, "PNG": _bare_png, "WEBP": _bare_webp}[format](data, exif)


def _orientation_only(orientation: int) -> bytes:
    """A TIFF header, one entry, no further directory. Source: EXIF 2.32, 4.5."""
    return b"MM\x00*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _bare_jpeg(data: bytes, exif: bytes) -> bytes:
    parts = [segment for segment in _segments(data) if _needed(segment)]
    if exif:
        body = b"Exif\x00\x00" + exif
        first = int(bool(parts) and parts[0][0][1] == APP0)
        parts.insert(first, (b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body, b""))
    return JPEG_START + b"".join(segment + pixels for segment, pixels in parts) + b"\xff\xd9"


def _needed(part: Part) -> bool:
    segment, _ = part
    kind = segment[1]
    if not (APP0 <= kind <= APP15 or kind == COMMENT):
        return True
    return any(kind == wanted and segment.startswith(start, 4) for wanted, start in NEEDED_SEGMENTS)


def _segments(data: bytes) -> Iterator[Part]:
    """Each segment with its marker, and the coded pixels behind it if it is a scan's; ends at the end of the image."""
    at = len(JPEG_START)
    for _ in range(MAX_PARTS):
        marker = MARKER.search(data, at)
        if marker is None:
            raise InvalidImage("The JPEG image is truncated or corrupt: it has no end.")
        kind = data[marker.start() + 1]
        if kind == END:
            return
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        at = marker.end() + length
        if length < 2 or at > len(data):
            raise InvalidImage("The JPEG image is truncated or corrupt: a segment does not end within it.")
        following = MARKER.search(data, at) if kind == SCAN else None
        yield data[marker.start() : at], data[at : following.start()] if following else b""
    raise InvalidImage(f"The JPEG image has more than {MAX_PARTS} segments; store it anew.")


def _bare_png(data: bytes, exif: bytes) -> bytes:
    kept = [PNG_START]
    for name, chunk in _chunks(data):
        if name == b"IDAT" and exif:
            kept.append(struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif)))
            exif = b""
        if name[:1].isupper() or name in NEEDED_CHUNKS:
            kept.append(chunk)
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[Part]:
    """Each chunk's name and all of its bytes, up to IEND; checksums of those that hold pixels are checked."""
    at = len(PNG_START)
    for _ in range(MAX_PARTS):
        name = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if len(name) < 4 or end > len(data):
            raise InvalidImage("The PNG image is truncated or corrupt: it has no end.")
        if name[:1].isupper() and zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise InvalidImage("The PNG image is truncated or corrupt: a checksum is wrong.")
        yield name, data[at:end]
        if name == b"IEND":
            return
        at = end
    raise InvalidImage(f"The PNG image has more than {MAX_PARTS} chunks; store it anew.")


def _bare_webp(data: bytes, exif: bytes) -> bytes:
    kept = []
    for name, chunk in _riff(data):
        if name == b"VP8X":
            flags = chunk[8] & ~(WEBP_EXIF | WEBP_XMP) | (WEBP_EXIF if exif else 0)
            kept.append(chunk[:8] + bytes([flags]) + chunk[9:])
        elif name in NEEDED_WEBP:
            kept.append(chunk)
    if exif:
        kept.append(b"EXIF" + struct.pack("<I", len(exif)) + exif)  # of even length, as chunks must be
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff(data: bytes) -> Iterator[Part]:
    """Each chunk's name and all of its bytes, padding included."""
    at, end = 12, 8 + int.from_bytes(data[4:8], "little")
    for _ in range(MAX_PARTS):
        if at >= end:
            return
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        following = at + 8 + size + size % 2
        if size == 0 or following > len(data):
            raise InvalidImage("The WEBP image is truncated or corrupt: a chunk does not end within it.")
        yield data[at : at + 4], data[at:following]
        at = following
    raise InvalidImage(f"The WEBP image has more than {MAX_PARTS} chunks; store it anew.")
