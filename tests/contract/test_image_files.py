"""contract.image_files: stored pictures say nothing but their pixels; files without their end are refused."""

import io
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from contract.errors import ImageTooLarge, InvalidImage, RipenError
from contract.image_files import MAX_PARTS, check_whole, without_metadata
from contract.images import ImageLimits, decode, inspect

LIMITS = ImageLimits()
SECRET = b"Somewhere street 7"
RANDOM = np.random.default_rng(3)
NOISE = Image.fromarray(RANDOM.integers(0, 255, (24, 40, 3), dtype=np.uint8))


def encode(format: str, image: Image.Image = NOISE, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = SECRET.decode()
    tags.get_ifd(0x8825)[29] = SECRET.decode()  # the day of a GPS position
    return tags


def text() -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Comment", SECRET.decode())
    chunks.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    return chunks


def profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


PICTURES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode("JPEG"),
    "jpeg-exif": lambda: encode("JPEG", exif=exif(), comment=SECRET, xmp=SECRET),
    "jpeg-turned": lambda: encode("JPEG", exif=exif(6), icc_profile=profile()),
    "jpeg-progressive": lambda: encode("JPEG", progressive=True, exif=exif(3)),
    "jpeg-restarts": lambda: encode("JPEG", restart_marker_blocks=1, exif=exif()),
    "jpeg-cmyk": lambda: encode("JPEG", NOISE.convert("CMYK"), exif=exif()),
    "jpeg-grey": lambda: encode("JPEG", NOISE.convert("L"), exif=exif()),
    "jpeg-mpo": lambda: encode("MPO", save_all=True, append_images=[NOISE.rotate(90)], exif=exif(8)),
    "jpeg-junk": lambda: encode("JPEG") + SECRET * 600,
    "png": lambda: encode("PNG"),
    "png-texts": lambda: encode("PNG", pnginfo=text(), exif=exif(), icc_profile=profile(), dpi=(72, 72)),
    "png-turned": lambda: encode("PNG", exif=exif(7)),
    "png-palette": lambda: encode("PNG", NOISE.convert("P"), transparency=3, pnginfo=text()),
    "png-alpha": lambda: encode("PNG", NOISE.convert("RGBA").rotate(20), exif=exif(5)),
    "png-junk": lambda: encode("PNG") + SECRET,
    "png-16-bit": lambda: encode("PNG", Image.fromarray(RANDOM.integers(0, 65535, (19, 19), dtype=np.uint16))),
    "webp": lambda: encode("WEBP"),
    "webp-exif": lambda: encode("WEBP", exif=exif(), xmp=SECRET, icc_profile=profile()),
    "webp-turned": lambda: encode("WEBP", exif=exif(2)),
    "webp-alpha": lambda: encode("WEBP", NOISE.convert("RGBA").rotate(20), lossless=True, exif=exif(6)),
    "webp-junk": lambda: encode("WEBP") + SECRET,
}


def bare(data: bytes) -> bytes:
    header = inspect(data, LIMITS)
    return without_metadata(data, header.format, header.orientation)


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_stay_and_secrets_go(name: str) -> None:
    data = PICTURES[name]()
    stored = bare(data)
    assert SECRET not in stored
    assert len(stored) <= len(data)
    assert np.array_equal(decode(stored, LIMITS), decode(data, LIMITS))
    before, after = inspect(data, LIMITS), inspect(stored, LIMITS)
    assert before == after
    with Image.open(io.BytesIO(stored)) as image:
        assert set(image.getexif()) <= {0x0112}
        assert not image.getexif().get_ifd(0x8825)
        assert image.format in ("JPEG", "PNG", "WEBP")
    assert bare(stored) == stored


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_what_has_no_metadata_stays_as_it_is(name: str) -> None:
    data = PICTURES[name]()
    assert bare(data) == data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_stays(format: str, orientation: int) -> None:
    data = encode(format, exif=exif(orientation))
    assert inspect(bare(data), LIMITS).orientation == orientation
    assert np.array_equal(decode(bare(data), LIMITS), decode(data, LIMITS))


def test_colour_profiles_stay() -> None:
    for format in ("JPEG", "PNG", "WEBP"):
        with Image.open(io.BytesIO(bare(encode(format, icc_profile=profile())))) as image:
            assert image.info["icc_profile"] == profile()


def test_an_end_is_asked_for() -> None:
    for data in (encode("JPEG"), encode("PNG")):
        check_whole(data)
        check_whole(data + b"junk")
        for cut in (1, 2, 13, len(data) // 2):
            with pytest.raises(InvalidImage, match="truncated or corrupt"):
                check_whole(data[:-cut])


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray(encode("PNG"))
    data[data.index(b"IDAT") + 30] ^= 1
    with pytest.raises(InvalidImage, match="checksum"):
        check_whole(bytes(data))


def test_thousands_of_parts_are_refused() -> None:
    jpeg, png = encode("JPEG"), encode("PNG")
    text = struct.pack(">I", 0) + b"tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))
    for data in (jpeg[:2] + b"\xff\xfe\x00\x02" * MAX_PARTS + jpeg[2:], png[:8] + text * MAX_PARTS + png[8:]):
        with pytest.raises(InvalidImage, match=f"more than {MAX_PARTS}"):
            check_whole(data)
    webp = encode("WEBP")
    many = b"WEBP" + b"ABCD\x02\x00\x00\x00ab" * MAX_PARTS + webp[12:]
    with pytest.raises(InvalidImage, match=f"more than {MAX_PARTS}"):
        without_metadata(b"RIFF" + struct.pack("<I", len(many)) + many, "WEBP", 1)


def test_mutated_pictures_end_in_pixels_or_in_one_of_two_errors() -> None:
    """3000 pictures with a few wrong bytes, a piece cut out or doubled: no other exception, no second of work."""
    random = np.random.default_rng(20261123)
    seeds = [make() for make in PICTURES.values()]
    decoded = 0
    for number in range(3000):
        data = _mutate(seeds[number % len(seeds)], random)
        began = time.thread_time()
        try:
            pixels = decode(data, LIMITS)
        except (InvalidImage, ImageTooLarge):
            continue
        finally:
            assert time.thread_time() - began < 1.0
        decoded += 1
        check_whole(data)  # an ordinary photo is decoded without it
        try:
            stored = bare(data)
        except RipenError:
            continue
        assert np.array_equal(decode(stored, LIMITS), pixels)
    assert 100 < decoded < 2900  # else the mutations are of no use


def _mutate(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    start, length = int(random.integers(len(data))), int(random.integers(1, 64))
    kind = random.integers(4)
    if kind == 0:
        del changed[start : start + length]
    elif kind == 1:
        changed[start:start] = changed[start : start + length]
    else:
        for place in random.integers(len(data), size=int(random.integers(1, 6))):
            changed[place] = random.integers(256)
    if kind == 3 and data.startswith(b"\x89PNG"):
        _mend_checksums(changed)
    return bytes(changed)


def _mend_checksums(png: bytearray) -> None:
    """Else nearly every change would end at the first check."""
    at = 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            return
        png[end : end + 4] = zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
