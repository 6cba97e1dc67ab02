"""Rows C: JSON that is none, or that two readers could read differently."""

import json
from collections.abc import Callable, Iterator
from typing import cast

from bad_input_case import MARKER, Answer, Case, Victim, rest, rows
from fastapi import APIRouter
from fastapi.routing import APIRoute

from service.protocols.core import Core
from service.protocols.rest_application import build
from service.protocols.rest_bodies import MAX_JSON_BYTES, StrictRoute
from service.protocols.tf_serving_json import MAX_BODY_BYTES

JSON = {"content-type": "application/json"}
ROUTES = {
    "retrain": "/api/v1/retrain",
    "promote": "/api/v1/versions/1:promote",
    "rollback": "/api/v1/versions:rollback",
    "models": "/api/v1/models",
}
PREDICT = "/v1/models/default:predict"


def deep(levels: int) -> bytes:
    return b'{"recipe": ' + b"[" * levels + b"]" * levels + b"}"


BODIES: dict[str, tuple[bytes, int, str]] = {
    "C1-truncated": (b'{"recipe": {"' + MARKER.encode(), 400, "invalid_request"),
    "C1-garbage-behind": (b"{} " + MARKER.encode(), 400, "invalid_request"),
    "C1-only-blanks": (b" \n", 400, "invalid_request"),
    "C2-list": (b"[]", 400, "invalid_request"),
    "C2-null": (b"null", 400, "invalid_request"),
    "C2-text": (json.dumps(MARKER).encode(), 400, "invalid_request"),
    "C3-nan": (b'{"recipe": {"alpha": NaN}}', 400, "invalid_request"),
    "C3-infinity": (b'{"recipe": {"alpha": -Infinity}}', 400, "invalid_request"),
    "C4-huge": (b'{"recipe": {"alpha": 1e999}}', 400, "invalid_request"),
    "C4-huge-negative": (b'{"recipe": {"alpha": -1e999}}', 400, "invalid_request"),
    "C5-5000-digits": (b'{"recipe": {"seed": ' + b"7" * 5000 + b"}}", 400, "invalid_request"),
    "C5-1e30": (b'{"recipe": {"seed": ' + b"1" + b"0" * 30 + b"}}", 400, "invalid_request"),
    "C6-33-levels": (deep(33), 400, "invalid_request"),
    "C6-900-levels": (deep(900), 400, "invalid_request"),
    "C6-30000-levels": (deep(30_000), 400, "invalid_request"),
    "C6-100000-levels": (deep(100_000), 413, "request_too_large"),
    "C7-lone-surrogate": (b'{"reason": "\\ud800"}', 400, "invalid_request"),
    "C7-surrogate-key": (b'{"\\udfff": 1}', 400, "invalid_request"),
    "C7-nul": (b'{"reason": "a\\u0000b"}', 400, "invalid_request"),
    "C8-latin": (b'{"reason": "\xff\xfe"}', 400, "invalid_request"),
    "C8-utf16": ('{"reason": "x"}'.encode("utf-16"), 400, "invalid_request"),
    "C8-bom": (b'\xef\xbb\xbf{"reason": "x"}', 400, "invalid_request"),
    "C9-twice": (b'{"reason": "a", "reason": "b"}', 400, "invalid_request"),
    "C9-twice-escaped": (b'{"reason": "a", "re\\u0061son": "b"}', 400, "invalid_request"),
    "C9-twice-inside": (b'{"recipe": {"seed": 1, "seed": 2}}', 400, "invalid_request"),
    "C10-unknown": (b'{"nothing": 1}', 400, "invalid_request"),
    "C10-long-unknown": (json.dumps({"x" * 1000 + MARKER: 1}).encode(), 400, "invalid_request"),
    "64-KiB": (b'{"reason": "' + b"x" * MAX_JSON_BYTES + b'"}', 413, "request_too_large"),
    "1-MiB": (b'{"reason": "' + b"x" * 2**20 + b'"}', 413, "request_too_large"),
}
EVERYWHERE = [
    Case(f"{route}-{name}", rest("POST", path, content=body, headers=JSON), status, code)
    for route, path in ROUTES.items()
    for name, (body, status, code) in BODIES.items()
]
TYPES = [
    Case(
        f"{route}-C11-{media_type or 'none'}",
        rest("POST", path, content=b"{}", headers={"content-type": media_type} if media_type else {}),
        415,
        "unsupported_media_type",
    )
    for route, path in ROUTES.items()
    for media_type in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
]


def recipe(**fields: object) -> Callable[[Victim], Answer]:
    return rest("POST", "/api/v1/retrain", json={"recipe": fields})


VALUES = [
    Case("C10-text-for-a-number", recipe(seed="3"), 400, "invalid_request"),
    Case("C10-true-for-a-number", recipe(seed=True), 400, "invalid_request"),
    Case("C10-part-of-a-number", recipe(seed=3.5), 400, "invalid_request"),
    Case("C10-number-for-a-text", recipe(weights=3), 400, "invalid_request"),
    Case("C10-list-for-a-number", recipe(seed=[1]), 400, "invalid_request"),
    Case(
        "C10-number-for-a-policy", rest("POST", ROUTES["retrain"], json={"gate": {"policy": 1}}), 400, "invalid_request"
    ),
    Case("C10-number-for-a-reason", rest("POST", ROUTES["promote"], json={"reason": 1}), 400, "invalid_request"),
    Case("C10-true-for-a-name", rest("POST", ROUTES["models"], json={"name": True}), 400, "invalid_request"),
    Case(
        "C10-text-for-classes",
        rest("POST", ROUTES["models"], json={"name": "a", "classes": "ab"}),
        400,
        "invalid_request",
    ),
    Case("no-body", rest("POST", ROUTES["models"]), 400, "invalid_request"),
    Case("empty-reason", rest("POST", ROUTES["promote"], json={"reason": ""}), 400, "invalid_request"),
]


def predict(body: bytes, **headers: str) -> Callable[[Victim], Answer]:
    return rest("POST", PREDICT, content=body, headers=headers)


# TensorFlow Serving answers every one of these with 400, and takes NaN, a second document and any content type.
TF_SERVING = [
    Case(f"predict-{name}", predict(body), 400)
    for name, body in {
        "C1-empty": b"",
        "C1-truncated": b'{"instances": ["' + MARKER.encode(),
        "C2-list": b"[]",
        "C2-null": b"null",
        "C3-nan": b'{"instances": [NaN]}',
        "C4-huge": b'{"signature_name": "pixels", "instances": [[[[1e999, 0, 0]]]]}',
        "C5-5000-digits": b'{"signature_name": "pixels", "instances": [[[[' + b"7" * 5000 + b", 0, 0]]]]}",
        "C6-900-levels": b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}",
        "C6-100000-levels": b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "C7-lone-surrogate": b'{"instances": ["\\ud800"]}',
        "C7-surrogate-signature": b'{"signature_name": "\\ud800", "instances": ["x"]}',
        "C8-utf16": '{"instances": ["x"]}'.encode("utf-16"),
        "C10-true": b'{"signature_name": "pixels", "instances": [[[[true, 0, 0]]]]}',
        "C12-bad-base64": b'{"instances": [{"b64": "%%%"}]}',
        "C12-data-url": b'{"instances": [{"b64": "data:image/png;base64,AAAA"}]}',
        "C12-both": b'{"instances": [{"b64": "AAAA", "url": "http://localhost/"}]}',
        "C12-neither": b'{"instances": [{}]}',
        "no-image": b'{"instances": []}',
        "empty-image": b'{"instances": [{"b64": ""}]}',
        "million-empty-lists": b'{"instances": [' + b"[]," * 5_000_000 + b"[]]}",
        "million-empty-texts": b'{"instances": [' + b'"",' * 5_000_000 + b'""]}',
        "million-nulls": b'{"instances": [' + b"null," * 3_000_000 + b"null]}",
        "too-large": b'{"instances": ["' + b"x" * MAX_BODY_BYTES + b'"]}',
    }.items()
] + [
    Case("predict-no-gzip", predict(b"{}", **{"content-encoding": "gzip"}), 400),
]


@rows([*EVERYWHERE, *TYPES, *VALUES])
def test_our_routes(victim: Victim, case: Case) -> None:
    case.check(victim)


@rows(TF_SERVING)
def test_tensorflow_serving_predict(victim: Victim, case: Case) -> None:
    case.check(victim)


def test_what_is_refused_changes_nothing(victim: Victim) -> None:
    before = [victim.client.get(f"/api/v1/{what}").json() for what in ("jobs", "models", "versions")]
    for path in ROUTES.values():
        for body, status, _ in BODIES.values():
            assert victim.client.post(path, content=body, headers=JSON).status_code == status
    assert [victim.client.get(f"/api/v1/{what}").json() for what in ("jobs", "models", "versions")] == before


def test_every_route_with_a_body_reads_it_strictly() -> None:
    routes = [route for route in routes_below(build(cast(Core, None)).router) if route.body_field]
    assert {"/retrain", "/examples", "/models"} <= {route.path for route in routes}
    assert not [route.path for route in routes if not isinstance(route, StrictRoute)]


def routes_below(router: APIRouter) -> Iterator[APIRoute]:
    """All routes: FastAPI keeps an included router as one."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif isinstance(inner := getattr(route, "original_router", None), APIRouter):
            yield from routes_below(inner)
