"""Rows E: images that are none, lie about their size, hide something, or are merely odd."""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
import tiny_version
from bad_input_case import GOOD, MARKER, Answer, Case, Victim, read_answer
from PIL import Image, PngImagePlugin

from protos import ripen_v1_pb2, ripen_v1_pb2_grpc
from service.tf_serving_stubs import predict_pb2, types_pb2

RANDOM = np.random.default_rng(5)
NOISE = Image.fromarray(RANDOM.integers(0, 255, (64, 64, 3), dtype=np.uint8))
MEGABYTE = 2**20


def encode(format: str, image: Image.Image = NOISE, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


JPEG, PNG, WEBP = encode("JPEG"), encode("PNG"), encode("WEBP")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """A PNG of any header; `data` are its raw rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(data, 9)) if data else b""
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    data = bytearray(JPEG)
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_with(**changes: int) -> bytes:
    """A JPEG with another frame: `kind` (0xC0-0xCF), `bits` or `components`."""
    data = bytearray(JPEG)
    start = data.index(b"\xff\xc0")
    data[start + 1] = changes.get("kind", 0xC0)
    data[start + 4] = changes.get("bits", 8)
    data[start + 9] = changes.get("components", 3)
    return bytes(data)


def broken(data: bytes, name: bytes, *, offset: int) -> bytes:
    """One bit flipped at `offset` behind a chunk's name."""
    changed = bytearray(data)
    changed[changed.index(name) + offset] ^= 1
    return bytes(changed)


def without(data: bytes, name: bytes) -> bytes:
    """A PNG without a chunk."""
    start = data.index(name) - 4
    return data[:start] + data[start + 12 + int.from_bytes(data[start : start + 4], "big") :]


def scans(count: int) -> bytes:
    """A JPEG whose only scan comes `count` times."""
    start, end = JPEG.index(b"\xff\xda"), JPEG.rindex(b"\xff\xd9")
    return JPEG[:start] + JPEG[start:end] * count + JPEG[end:]


def bomb(name: bytes, head: bytes) -> bytes:
    """A chunk that unpacks to 50 MB."""
    return chunk(name, head + zlib.compress(bytes(50 * MEGABYTE), 9))


def animation(format: str, frames: int = 51) -> bytes:
    small = NOISE.resize((8, 8))
    return encode(format, small, save_all=True, append_images=[small.rotate(n) for n in range(1, frames)], duration=20)


def segments(body: bytes, kind: int) -> bytes:
    """A JPEG with more segments behind its start."""
    pieces = [body[start : start + 65_000] for start in range(0, len(body), 65_000)]
    return (
        JPEG[:2]
        + b"".join(b"\xff" + bytes([kind]) + struct.pack(">H", len(one) + 2) + one for one in pieces)
        + JPEG[2:]
    )


INVALID, LARGE = (422, "invalid_image"), (413, "image_too_large")
REFUSED: dict[str, tuple[Callable[[], bytes], tuple[int, str]]] = {
    "E1-empty": (lambda: b"", INVALID),
    "E2-one-byte": (lambda: b"\xff", INVALID),
    "E2-start-only": (lambda: b"\xff\xd8", INVALID),
    "E2-start-and-end": (lambda: b"\xff\xd8\xff\xd9", INVALID),
    "E2-random": (lambda: RANDOM.bytes(4096), INVALID),
    "E3-html": (lambda: b"<!doctype html><script>" + MARKER.encode(), INVALID),
    "E3-svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg">' + MARKER.encode(), INVALID),
    "E3-pdf": (lambda: b"%PDF-1.7\n" + bytes(100), INVALID),
    "E3-zip": (lambda: b"PK\x03\x04" + bytes(100), INVALID),
    "E3-elf": (lambda: b"\x7fELF" + bytes(100), INVALID),
    "E3-mp4": (lambda: b"\x00\x00\x00\x18ftypmp42" + bytes(100), INVALID),
    "E3-psd": (lambda: b"8BPS\x00\x01" + bytes(100), INVALID),
    "E3-eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", INVALID),
    "E3-fits": (lambda: b"SIMPLE  =                    T" + bytes(2880), INVALID),
    "E3-gif": (lambda: encode("GIF"), INVALID),
    "E3-bmp": (lambda: encode("BMP"), INVALID),
    "E3-tiff": (lambda: encode("TIFF"), INVALID),
    "E3-float-tiff": (lambda: encode("TIFF", NOISE.convert("F")), INVALID),
    "E4-jpeg-10": (lambda: JPEG[: len(JPEG) // 10], INVALID),
    "E4-jpeg-50": (lambda: JPEG[: len(JPEG) // 2], INVALID),
    "E4-jpeg-99": (lambda: JPEG[: len(JPEG) * 99 // 100], INVALID),
    "E4-jpeg-no-end": (lambda: JPEG[:-2], INVALID),
    "E4-webp-50": (lambda: WEBP[: len(WEBP) // 2], INVALID),
    "E6-jpeg-65500": (lambda: jpeg_of(65_500, 65_500), LARGE),
    "E7-jpeg-90-megapixels": (lambda: jpeg_of(10_000, 9_000), LARGE),
    "E8-png-30000": (lambda: png(30_000, 30_000, depth=1, colour=0, data=b"\x00"), LARGE),
    "E9-png-width-2-31": (lambda: png(2**31, 1, data=b"\x00"), LARGE),
    "E9-png-0": (lambda: png(0, 0, data=b"\x00"), INVALID),
    "E9-jpeg-height-0": (lambda: jpeg_of(64, 0), INVALID),
    "E10-png-144-megapixels": (lambda: png(12_000, 12_000, colour=6, data=bytes(12_000 * 48_001 // 16)), LARGE),
    "E11-410-scans": (lambda: scans(410), INVALID),
    "E11-9-MB-of-scans": (lambda: scans(9 * MEGABYTE // len(JPEG)), INVALID),
    "E12-header-checksum": (lambda: broken(PNG, b"IHDR", offset=18), INVALID),
    "E12-data-checksum": (lambda: broken(PNG, b"IDAT", offset=-5 + 9), INVALID),
    "E12-data-truncated": (lambda: png(64, 64, data=bytes(50)), INVALID),
    "E12-no-data": (lambda: without(PNG, b"IDAT"), INVALID),
    "E12-no-palette": (lambda: without(encode("PNG", NOISE.convert("P")), b"PLTE"), INVALID),
    "E12-no-end": (lambda: PNG[:-12], INVALID),
    "E13-profile-bomb": (lambda: png(8, 8, bomb(b"iCCP", b"icc\x00\x00"), data=bytes(8 * 25)), INVALID),
    "E13-text-bomb": (lambda: png(8, 8, bomb(b"zTXt", b"text\x00\x00"), data=bytes(8 * 25)), INVALID),
    "E13-2000-texts": (
        lambda: png(8, 8, *[chunk(b"zTXt", b"t\x00\x00" + zlib.compress(bytes(40_000)))] * 2000, data=bytes(8 * 25)),
        INVALID,
    ),
    "E13-20000-chunks": (lambda: png(8, 8, *[chunk(b"tEXt", b"a\x00b")] * 20_000, data=bytes(8 * 25)), INVALID),
    "E22-png-51-frames": (lambda: animation("PNG"), INVALID),
    "E22-webp-51-frames": (lambda: animation("WEBP"), INVALID),
    "E24-65500-wide": (lambda: png(65_500, 1, data=bytes(1 + 65_500 * 3)), LARGE),
    "E24-65500-high": (lambda: png(1, 65_500, data=bytes(4 * 65_500)), LARGE),
    "E26-8-components": (lambda: jpeg_with(components=8), INVALID),
    "E26-2-components": (lambda: jpeg_with(components=2), INVALID),
    "E26-lossless": (lambda: jpeg_with(kind=0xC3), INVALID),
    "E26-12-bit": (lambda: jpeg_with(bits=12), INVALID),
    "E27-one-byte-too-many": (lambda: JPEG + bytes(10 * MEGABYTE + 1 - len(JPEG)), LARGE),
}


@dataclass(frozen=True)
class Route:
    """One way for an image to come in. `expected` turns our REST's status and code into this protocol's."""

    send: Callable[[Victim, bytes], Answer]
    expected: Callable[[int, str], tuple[int | str, str | None]]


def predict_raw(victim: Victim, data: bytes) -> Answer:
    return read_answer(victim.client.post("/api/v1/predict", content=data))


def predict_form(victim: Victim, data: bytes) -> Answer:
    return read_answer(victim.client.post("/api/v1/predict", files={"file": ("a.jpg", data)}))


def add_example(victim: Victim, data: bytes) -> Answer:
    return read_answer(victim.client.post("/api/v1/examples", data={"label": "apple"}, files={"file": ("a.jpg", data)}))


def tf_serving_rest(victim: Victim, data: bytes) -> Answer:
    body = {"instances": [{"b64": base64.b64encode(data).decode()}]}
    return read_answer(victim.client.post("/v1/models/default:predict", json=body))


def tf_serving_grpc(victim: Victim, data: bytes) -> Answer:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    tensor = request.inputs["image_bytes"]
    tensor.dtype = types_pb2.DT_STRING
    tensor.tensor_shape.dim.add().size = 1
    tensor.string_val.append(data)
    call = victim.channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict", predict_pb2.PredictRequest.SerializeToString
    )
    return over_grpc(lambda: call(request, timeout=20))


def classify(victim: Victim, data: bytes) -> Answer:
    request = ripen_v1_pb2.ClassifyRequest(images=[ripen_v1_pb2.Image(data=data)])
    return over_grpc(lambda: ripen_v1_pb2_grpc.ClassifierStub(victim.channel).Classify(request, timeout=20))


def over_grpc(call: Callable[[], object]) -> Answer:
    try:
        call()
    except grpc.RpcError as error:
        return Answer(error.code().name, None, error.details())
    return Answer("OK", None, "")


def as_ours(status: int, code: str) -> tuple[int | str, str | None]:
    return status, code


ROUTES = {
    "predict": Route(predict_raw, as_ours),
    "form": Route(predict_form, as_ours),
    "examples": Route(add_example, as_ours),
    "tf-serving-rest": Route(tf_serving_rest, lambda status, code: (400, None)),
    "tf-serving-grpc": Route(tf_serving_grpc, lambda status, code: ("INVALID_ARGUMENT", None)),
    "classify": Route(classify, lambda status, code: ("INVALID_ARGUMENT", None)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_on_every_route(victim: Victim, name: str) -> None:
    make, expected = REFUSED[name]
    data = make()
    for kind, route in ROUTES.items():
        status, code = route.expected(*expected)
        Case(f"{kind}-{name}", lambda victim, route=route: route.send(victim, data), status, code).compare(victim)
    victim.check_unharmed()


def deep_colours(depth: type[np.unsignedinteger]) -> bytes:
    """The same gradient with 8 or 16 bits per channel."""
    values = np.linspace(0, 1, 64 * 64 * 3).reshape(64, 64 * 3)
    size = np.dtype(depth).itemsize
    raw = (values * 255).astype(np.uint8).astype(depth) * (257 if size == 2 else 1)
    rows = b"".join(b"\x00" + row.astype(f">u{size}").tobytes() for row in raw)
    return png(64, 64, depth=8 * size, data=rows)


def exif_of(orientation: int) -> bytes:
    return b"Exif\x00\x00MM\x00*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


PLAIN = encode("JPEG", Image.new("RGB", (64, 64), (200, 60, 40)))
CMYK = encode("JPEG", Image.new("CMYK", (64, 64), (55, 195, 215, 0)))
YCCK = CMYK[: CMYK.index(b"Adobe") + 11] + b"\x02" + CMYK[CMYK.index(b"Adobe") + 12 :]
ACCEPTED: dict[str, Callable[[], bytes]] = {
    "E5-junk-behind-jpeg": lambda: JPEG + RANDOM.bytes(10_000).replace(b"\xff\xda", b""),
    "E5-junk-behind-png": lambda: PNG + RANDOM.bytes(10_000),
    "E14-16-bit-grey": lambda: encode("PNG", Image.fromarray(RANDOM.integers(0, 65535, (19, 19), dtype=np.uint16))),
    "E15-16-bit-colours": lambda: deep_colours(np.uint16),
    "E16-cmyk": lambda: CMYK,
    "E16-ycck": lambda: YCCK,
    "E17-hidden-red": lambda: encode("PNG", Image.new("RGBA", (8, 8), (255, 0, 0, 0))),
    "E18-grey": lambda: encode("PNG", NOISE.convert("L")),
    "E18-grey-alpha": lambda: encode("PNG", NOISE.convert("LA")),
    "E18-palette": lambda: encode("PNG", NOISE.convert("P"), transparency=0),
    "E18-1-bit": lambda: encode("PNG", NOISE.convert("1")),
    "E20-orientation-0": lambda: encode("JPEG", exif=exif_of(0)),
    "E20-orientation-9": lambda: encode("JPEG", exif=exif_of(9)),
    "E20-orientation-65535": lambda: encode("JPEG", exif=exif_of(65_535)),
    "E20-garbage": lambda: encode("JPEG", exif=b"Exif\x00\x00" + RANDOM.bytes(2000)),
    "E20-loop": lambda: encode(
        "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x08" + bytes(60_000)
    ),
    "E21-garbage-profile": lambda: encode("JPEG", icc_profile=RANDOM.bytes(5000)),
    "E21-3-MB-profile": lambda: encode("JPEG", icc_profile=bytes(3 * MEGABYTE)),
    "E23-two-pictures": lambda: encode("MPO", save_all=True, append_images=[NOISE.rotate(90)]),
    "E25-1-by-1": lambda: encode("PNG", NOISE.resize((1, 1))),
    "E25-2-by-2": lambda: encode("JPEG", NOISE.resize((2, 2))),
    "E27-10-MiB-exactly": lambda: JPEG + bytes(10 * MEGABYTE - len(JPEG)),
    "long-comments": lambda: segments(MARKER.encode() * 20_000, 0xFE),
    "texts": lambda: encode("PNG", pnginfo=texts()),
}


NOTHING_TO_LEARN = {  # good enough to be classified
    "E16-cmyk": "blank_image",
    "E16-ycck": "blank_image",
    "E17-hidden-red": "image_too_small",
    "E25-1-by-1": "image_too_small",
    "E25-2-by-2": "image_too_small",
}


def texts() -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for number in range(50):
        chunks.add_text(f"text {number}", MARKER, zip=True)
    return chunks


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_but_good_on_every_route(victim: Victim, name: str) -> None:
    data = ACCEPTED[name]()
    for kind, route in ROUTES.items():
        good: int | str = {"examples": 201}.get(kind, "OK" if kind in ("tf-serving-grpc", "classify") else 200)
        code = NOTHING_TO_LEARN.get(name) if kind == "examples" else None
        status = 422 if code else good
        Case(f"{kind}-{name}", lambda victim, route=route: route.send(victim, data), status, code).compare(victim)
    victim.check_unharmed()


def probability(victim: Victim, data: bytes) -> float:
    answer = victim.client.post("/api/v1/predict", content=data)
    return float(answer.json()["predictions"][0]["probability"])


def test_the_same_picture_gets_the_same_answer(victim: Victim) -> None:
    upright = NOISE.resize((32, 32))
    turns = [None, 0, 3, 1, 5, 4, 6, 2]  # Pillow's transpositions that the orientations 2-8 undo
    undo = {0: 0, 1: 1, 2: 4, 3: 3, 4: 2, 5: 5, 6: 6}
    wanted = probability(victim, encode("PNG", upright))
    for orientation, turn in enumerate(turns, start=1):
        stored = upright if turn is None else upright.transpose(Image.Transpose(undo[turn]))
        given = probability(victim, encode("PNG", stored, exif=exif_of(orientation)[6:]))
        assert given == pytest.approx(wanted, abs=1e-6), orientation
    assert probability(victim, deep_colours(np.uint16)) == pytest.approx(
        probability(victim, deep_colours(np.uint8)), abs=1e-3
    )
    white = probability(victim, encode("PNG", Image.new("RGB", (8, 8), "white")))
    assert probability(victim, ACCEPTED["E17-hidden-red"]()) == pytest.approx(white, abs=1e-6)
    assert probability(victim, CMYK) == pytest.approx(probability(victim, PLAIN), abs=0.02)


def test_what_is_stored_says_nothing_but_its_pixels(victim: Victim) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = MARKER
    photo = encode("JPEG", Image.fromarray(RANDOM.integers(0, 255, (16, 24, 3), dtype=np.uint8)), exif=exif)
    first = victim.client.post("/api/v1/examples", data={"label": "orange"}, files={"file": photo + b"junk"})
    again = victim.client.post("/api/v1/examples", data={"label": "orange"}, files={"file": photo + b"junk"})
    assert [one.json()["examples"][0]["duplicate"] for one in (first, again)] == [False, True]
    digest = first.json()["examples"][0]["digest"]
    stored = (victim.home / "storage" / "examples" / "default" / digest[:2] / digest).read_bytes()
    assert MARKER.encode() not in stored
    assert stored.endswith(b"\xff\xd9")
    with Image.open(io.BytesIO(stored)) as image:
        assert dict(image.getexif()) == {0x0112: 6}
    assert probability(victim, stored) == probability(victim, photo)


def test_a_bad_image_among_good_ones(victim: Victim) -> None:
    files = [("file", ("a", GOOD)), ("file", ("b", JPEG[:-2])), ("file", ("c", tiny_version.picture(77)))]
    told = victim.client.post("/api/v1/predict", files=files).json()["predictions"]
    assert [one.get("error", {}).get("code") for one in told] == [None, "invalid_image", None]
