"""contract.images: every odd picture that people send, and the sameness with TensorFlow's decoder."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from contract.errors import BlankImage, ImageTooLarge, ImageTooSmall, InvalidImage
from contract.images import ImageLimits, decode, decode_resized, inspect, resize, thumbnail

LIMITS = ImageLimits()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    rows = np.linspace(0, 255, height)[:, None, None] * np.ones((1, width, 1))
    columns = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 1))
    blue = np.full((height, width, 1), 60.0)
    return Image.fromarray(np.concatenate([rows, columns, blue], axis=2).astype(np.uint8))


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_three_formats_are_decoded_to_rgb(format: str) -> None:
    data = encode(gradient(), format)
    pixels = decode(data, LIMITS)
    assert pixels.shape == (30, 40, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(gradient())).mean() < 6
    header = inspect(data, LIMITS)
    assert (header.format, header.width, header.height) == (format, 40, 30)


def test_exif_orientation_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    assert decode(encode(gradient(), "JPEG", exif=exif), LIMITS).shape == (40, 30, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_does(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(gradient(), "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode(data, LIMITS), np.asarray(upright))


def test_odd_metadata_refuses_no_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    good = encode(gradient(), "JPEG", exif=exif)
    start = good.index(b"Exif")
    random = np.random.default_rng(1)
    for _ in range(2000):
        data = bytearray(good)
        for place in random.integers(start + 6, start + 30, 3):
            data[place] = random.integers(256)
        assert decode(bytes(data), LIMITS).shape in ((30, 40, 3), (40, 30, 3))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_pixels_are_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    if mode in ("LA", "PA"):
        image = image.convert("LA")
    if mode == "P":
        image = image.convert("P")
        image.info["transparency"] = image.getpixel((0, 0))
    data = encode(image)
    assert decode(data, LIMITS).min() == 255


def test_cmyk_is_converted() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    pixel = decode(encode(red, "JPEG"), LIMITS)[4, 4]
    assert pixel[0] > 200
    assert pixel[1:].max() < 60


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    grey = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    assert decode(encode(grey), LIMITS)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_grey_and_bilevel_become_rgb() -> None:
    assert decode(encode(gradient().convert("L")), LIMITS).shape == (30, 40, 3)
    assert decode(encode(gradient().convert("1")), LIMITS).shape == (30, 40, 3)


@pytest.mark.parametrize(("format", "name"), [("PNG", "PNG"), ("WEBP", "WEBP")])
def test_animations_are_refused_by_name(format: str, name: str) -> None:
    data = encode(gradient(), format, save_all=True, append_images=[gradient().rotate(90)], duration=100)
    with pytest.raises(InvalidImage, match=f"{name} image is animated"):
        decode(data, LIMITS)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_truncated_images_are_refused(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), format)
    with pytest.raises(InvalidImage, match=r"truncated or corrupt|header is corrupt|Not a"):
        decode(data[: len(data) // 2], LIMITS)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"comment": b"x" * 40}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_cut_anywhere_is_refused(mode: str, options: dict[str, object]) -> None:
    data = encode(gradient().convert(mode), "JPEG", **options)
    assert decode(data, LIMITS).shape == (30, 40, 3)
    for length in range(len(data)):
        with pytest.raises(InvalidImage):
            decode(data[:length], LIMITS)


def test_other_bytes_are_refused_and_described() -> None:
    with pytest.raises(InvalidImage, match=r"Not a JPEG, PNG or WebP image: 11 bytes that begin with 68 65 6c"):
        decode(b"hello there", LIMITS)
    with pytest.raises(InvalidImage, match="0 bytes"):
        decode(b"", LIMITS)
    with pytest.raises(InvalidImage, match="Not a JPEG"):
        decode(encode(gradient(), "GIF"), LIMITS)


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = bytearray(encode(gradient()))
    bomb[16:24] = (50_000).to_bytes(4, "big") * 2
    import zlib

    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    with pytest.raises(ImageTooLarge, match="50000 x 50000 pixels; at most 25000000"):
        decode(bytes(bomb), LIMITS)


def test_limits_on_bytes_and_pixels() -> None:
    data = encode(gradient())
    with pytest.raises(ImageTooLarge, match="at most 10 are"):
        decode(data, ImageLimits(max_bytes=10))
    with pytest.raises(ImageTooLarge, match="40 x 30"):
        decode(data, ImageLimits(max_pixels=1199))
    assert decode(data, ImageLimits(max_pixels=1200)).shape == (30, 40, 3)


def test_too_many_jpeg_scans_are_refused() -> None:
    data = encode(gradient(), "JPEG")
    end = data.rindex(b"\xff\xd9")
    with pytest.raises(InvalidImage, match="more than 100 scans"):
        decode(data[:end] + b"\xff\xda" * 101 + data[end:], LIMITS)


def test_resize_is_bilinear_without_antialias() -> None:
    checks = (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    assert resize(checks, 4, 4).tolist() == np.full((4, 4, 3), 128).tolist()  # the mean of each 2 x 2
    one_row = np.array([[0, 100, 200, 250]], dtype=np.uint8)[:, :, None].repeat(3, axis=2)
    assert resize(one_row, 1, 2)[0, :, 0].tolist() == [50, 225]
    assert resize(checks, 8, 8) is checks
    assert decode_resized(encode(gradient()), 10, 20, LIMITS).shape == (10, 20, 3)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_has_the_pixels_that_pillow_gives_it(mode: str, subsampling: int, progressive: bool) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (61, 83, 3), np.uint8)
    options = {} if mode == "L" else {"subsampling": subsampling}
    data = encode(Image.fromarray(noise).convert(mode), "JPEG", quality=85, progressive=progressive, **options)
    assert np.array_equal(decode(data, LIMITS), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_a_jpeg_is_turned_as_pillow_does(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(gradient(), "JPEG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode(data, LIMITS), np.asarray(upright))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_labelled_pictures_have_a_size_and_more_than_one_colour(form: str) -> None:
    def encoded(image: Image.Image) -> bytes:
        stream = io.BytesIO()
        image.save(stream, form)
        return stream.getvalue()

    red = Image.new("RGB", (64, 64), (250, 10, 10))
    for check in (inspect, lambda data, limits: thumbnail(data, 8, limits)):
        with pytest.raises(BlankImage, match="one colour"):
            check(encoded(red), LIMITS)
        with pytest.raises(ImageTooSmall, match="15 x 64 pixels; labelled ones have 16 per side"):
            check(encoded(red.crop((0, 0, 15, 64))), LIMITS)
    assert decode(encoded(red), LIMITS).shape == (64, 64, 3)  # to be classified it may be so
    between = red.copy()
    between.paste((10, 250, 10), (17, 17, 31, 31))  # where the first look, at every 16th pixel, does not see it
    assert inspect(encoded(between), LIMITS).width == 64
    seen = thumbnail(encoded(between), 4, LIMITS)
    assert seen.shape == (4, 4, 3)
    assert seen[1, 1, 1] > 150
    assert seen[0, 3, 1] < 60
