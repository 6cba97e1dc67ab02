"""Rows D: forms that are malformed, too large, ambiguous or name files oddly."""

from collections.abc import Callable

import pytest
import tiny_version
from bad_input_case import GOOD, MARKER, Answer, Case, Victim, rest, rows

from service.protocols.rest_bodies import MAX_FILES, MAX_TEXT_BYTES

BOUNDARY = "fruit7boundary"
PREDICT, EXAMPLES = "/api/v1/predict", "/api/v1/examples"
INVALID = (400, "invalid_request")


def part(
    body: bytes = GOOD, *, name: str = "file", file: str | None = "a.jpg", headers: tuple[bytes, ...] = ()
) -> bytes:
    """One part with its leading boundary; `file` None makes it a text field."""
    disposition = f'Content-Disposition: form-data; name="{name}"' + (
        f'; filename="{file}"' if file is not None else ""
    )
    return b"\r\n".join([f"--{BOUNDARY}".encode(), disposition.encode(), *headers, b"", body, b""])


LABEL = part(b"apple", name="label", file=None)
END = f"--{BOUNDARY}--\r\n".encode()


def form(
    path: str, *parts: bytes, end: bytes = END, boundary: str = f"; boundary={BOUNDARY}"
) -> Callable[[Victim], Answer]:
    """Sends a form; the examples' one has its label in front."""
    body = b"".join([LABEL if path == EXAMPLES else b"", *parts, end])
    return rest("POST", path, content=body, headers={"content-type": f"multipart/form-data{boundary}"})


def head(size: int) -> bytes:
    return b"X-Long: " + b"x" * size


BODIES: dict[str, tuple[dict[str, str | bytes], tuple[bytes, ...], int, str]] = {
    "D1-no-boundary": ({"boundary": ""}, (part(),), *INVALID),
    "D1-empty-boundary": ({"boundary": "; boundary="}, (part(),), *INVALID),
    "D1-wrong-boundary": ({"boundary": "; boundary=other"}, (part(),), *INVALID),
    "D1-long-boundary": ({"boundary": "; boundary=" + "b" * 300}, (part(),), *INVALID),
    "D1-other-charset": ({"boundary": f"; boundary={BOUNDARY}; charset=utf-16"}, (part(),), *INVALID),
    "D2-no-end": ({"end": b""}, (part(),), *INVALID),
    "D2-cut": ({"end": b""}, (part()[:-100],), *INVALID),
    "D2-second-cut": ({"end": b""}, (part(), part()[:-100]), *INVALID),
    "D2-half-an-end": ({"end": END[:-6]}, (part(),), *INVALID),
    "D3-file-as-text": ({}, (part(b"text" + MARKER.encode(), file=None),), *INVALID),
    "D3-empty-file": ({}, (part(b""),), 422, "invalid_image"),
    "D3-no-file": ({}, (), *INVALID),
    "D4-text-twice": ({}, (part(b"apple", name="label", file=None),) * 2 + (part(),), *INVALID),
    "D5-too-many-files": ({}, (part(b"x"),) * (MAX_FILES + 1), *INVALID),
    "D5-too-many-fields": ({}, tuple(part(b"x", name=f"n{n}", file=None) for n in range(1001)), *INVALID),
    "D6-long-text": ({}, (part(b"x" * 1_500_000, name="label2", file=None),), 413, "request_too_large"),
    "D8-text-not-utf8": ({}, (part(b"\xff\xfe", name="bucket", file=None), part()), *INVALID),
    "D9-long-header": ({}, (part(headers=(head(100_000),)),), *INVALID),
    "D9-many-headers": ({}, (part(headers=(head(1),) * 500),), *INVALID),
    "D9-no-disposition": ({}, (f"--{BOUNDARY}\r\n\r\n".encode() + GOOD + b"\r\n",), *INVALID),
    "D9-no-name": (
        {},
        (f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\n".encode() + GOOD + b"\r\n",),
        *INVALID,
    ),
    "D10-base64": ({}, (part(headers=(b"Content-Transfer-Encoding: base64",)),), *INVALID),
    "D10-quoted": ({}, (part(headers=(b"content-transfer-encoding: Quoted-Printable",)),), *INVALID),
    "unknown-field": ({}, (part(b"1", name="other", file=None), part()), *INVALID),
    "not-an-image": ({}, (part(MARKER.encode()),), 422, "invalid_image"),
    "text-beyond-the-limit": (
        {},
        (part(b"x" * (MAX_TEXT_BYTES + 1), name="bucket", file=None),),
        413,
        "request_too_large",
    ),
}
REFUSED = [
    Case(f"{path.rsplit('/', 1)[1]}-{name}", form(path, *parts, **options), status, code)  # type: ignore[arg-type]  # both kinds of options are in one dict
    for path in (PREDICT, EXAMPLES)
    for name, (options, parts, status, code) in BODIES.items()
]
OTHERS = [
    Case(
        "examples-D11-text-plain",
        rest("POST", EXAMPLES, content=b"x", headers={"content-type": "text/plain"}),
        415,
        "unsupported_media_type",
    ),
    Case("examples-urlencoded", rest("POST", EXAMPLES, data={"label": "apple"}), 415, "unsupported_media_type"),
    Case("examples-nothing", rest("POST", EXAMPLES), 415, "unsupported_media_type"),
    Case("examples-no-label", rest("POST", EXAMPLES, files={"file": GOOD}), *INVALID),
    Case(
        "examples-label-as-file",
        rest("POST", EXAMPLES, files={"label": ("a", b"apple"), "file": ("b", GOOD)}),
        *INVALID,
    ),
    Case(
        "examples-bad-bucket",
        rest("POST", EXAMPLES, data={"label": "apple", "bucket": "train"}, files={"file": GOOD}),
        *INVALID,
    ),
    Case(
        "examples-several-buckets",
        rest("POST", EXAMPLES, data={"label": "apple", "bucket": ["holdout", "holdout"]}, files={"file": GOOD}),
        *INVALID,
    ),
]
NAMES = {
    "D7-path": "../../etc/passwd",
    "D7-drive": "C:\\x",
    "D7-nul": "a\x00b.jpg",
    "D7-5-KB": "n" * 3900,
    "D7-empty": "",
    "D7-script": "<script>.jpg",
    "D7-override": "a\u202egpj.exe",
}
ACCEPTED = [
    *(Case(f"predict-{name}", form(PREDICT, part(file=file)), 200) for name, file in NAMES.items()),
    *(
        Case(f"examples-{name}", form(EXAMPLES, part(tiny_version.picture(500 + number), file=file)), 201)
        for number, (name, file) in enumerate(NAMES.items())
    ),
    Case(
        "predict-D7-star",
        form(PREDICT, part().replace(b'filename="a.jpg"', b"filename=\"a.jpg\"; filename*=UTF-8''..%2f..%2fx")),
        200,
    ),
    Case("predict-D10-binary", form(PREDICT, part(headers=(b"Content-Transfer-Encoding: binary",))), 200),
    Case("predict-D11-preamble", form(PREDICT, b"\r\n" * 4_500_000, part()), 200),
    Case("predict-D11-epilogue", form(PREDICT, part(), end=END + b"\r\nepilogue" * 900_000), 200),
    Case("predict-D12-other-type", form(PREDICT, part(headers=(b"Content-Type: image/png",))), 200),
]


@rows([*REFUSED, *OTHERS, *ACCEPTED])
def test_forms(victim: Victim, case: Case) -> None:
    case.check(victim)


def test_file_names_are_for_people_only(victim: Victim) -> None:
    for number, file in enumerate(NAMES.values()):
        form(EXAMPLES, part(tiny_version.picture(500 + number), file=file))(victim)
    page = victim.client.get(EXAMPLES, params={"limit": 1000}).json()["examples"]
    stored = {example["digest"]: example["file"] for example in page}
    assert {"passwd", "ab.jpg", "<script>.jpg"} <= set(stored.values())
    assert all(len(name) <= 255 and name.isprintable() for name in stored.values())
    objects = [path for path in (victim.home / "storage" / "examples" / "default").rglob("*") if path.is_file()]
    assert {path.name for path in objects} == set(stored)


def test_a_form_in_small_pieces_is_the_same_form(victim: Victim) -> None:
    body = part() + END

    def pieces() -> object:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = victim.client.post(PREDICT, content=pieces(), headers=headers)  # type: ignore[arg-type]  # a generator of bytes
    assert answer.json()["predictions"][0]["probability"] == pytest.approx(victim.expected, abs=1e-6)
