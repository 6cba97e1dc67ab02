"""Rows A: HTTP that is none, or that two readers could read differently; A15 is tests/faults/test_slow_clients.py."""

import gzip
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from bad_input_case import GOOD, MARKER, Answer, Case, Victim, read_answer, rest, rows, serving

MOST = 2**20
HOST = b"Host: 127.0.0.1\r\n"
PREDICT = b"POST /api/v1/predict HTTP/1.1\r\n" + HOST
CHUNKED = PREDICT + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"
STYLE = "/static-offline-docs/swagger-ui.css"
MARK = MARKER.encode()


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """With a limit of 1 MiB per request, which is quick to pass."""
    with serving(tmp_path_factory.mktemp("framing"), RIPEN_MAX_REQUEST_BYTES=MOST) as victim:
        yield victim


def answer_of(victim: Victim, sent: bytes, *, half_close: bool = False) -> bytes:
    """All that comes back for these bytes until the service closes; whatever it does, the bytes are sent first."""
    port = victim.client.base_url.port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return stream.read()


def raw(sent: bytes) -> Callable[[Victim], Answer]:
    """Sends bytes; the service must answer once, in our shape, and close."""

    def send(victim: Victim) -> Answer:
        came = answer_of(victim, sent)
        head, _, body = came.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines])
        assert headers["connection"] == "close", lines
        assert int(headers["content-length"]) == len(body), body
        answer = httpx.Response(
            int(status.split()[1]), headers=headers, content=body, request=httpx.Request("POST", victim.client.base_url)
        )
        return read_answer(answer)

    return send


def not_http(id: str, sent: bytes) -> Case:
    return Case(id, raw(sent), 400, "invalid_http")


def chunks(count: int, data: bytes = b"x") -> bytes:
    return (b"%x\r\n%s\r\n" % (len(data), data)) * count


def escaped(path: str) -> Callable[[Victim], Answer]:
    return raw(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())


def encoded(encoding: str, body: bytes) -> Callable[[Victim], Answer]:
    return rest("POST", "/api/v1/predict", content=body, headers={"content-encoding": encoding})


def with_head(lines: bytes) -> bytes:
    return GET + HOST + lines + b"\r\n"


@rows(
    [
        not_http("A1-tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"k" * 200),
        not_http("A1-h2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
        not_http("A2", GET + b"\r\n"),
        not_http("A3", GET + HOST + HOST + b"\r\n"),
        not_http("A5-0.9", b"GET /healthz\r\n\r\n"),
        not_http("A5-3.7", b"GET /healthz HTTP/3.7\r\n" + HOST + b"\r\n"),
        Case("A6-100-KB", raw(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"), 414, "uri_too_long"),
        Case("A6-9-KB", raw(b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"), 414, "uri_too_long"),
        Case("A6-endless", raw(b"GET /" + b"a" * 3_000_000), 414, "uri_too_long"),
        Case("A7-100-KB", raw(with_head(b"X: " + b"a" * 100_000 + b"\r\n")), 431, "headers_too_large"),
        Case("A7-10-MB", raw(with_head(b"X: " + b"a" * 10_000_000 + b"\r\n")), 431, "headers_too_large"),
        Case("A7-5000", raw(with_head(b"X: a\r\n" * 5_000)), 431, "headers_too_large"),
        Case("A7-101", raw(with_head(b"X: a\r\n" * 101)), 431, "headers_too_large"),
        not_http("A8-nul", with_head(b"X: a\x00" + MARK + b"\r\n")),
        not_http("A8-obs-fold", with_head(b"X: a\r\n " + MARK + b"\r\n")),
        not_http("A8-obs-fold-tab", with_head(b"X: a\r\n\t" + MARK + b"\r\n")),
        not_http("A8-space-before-colon", with_head(b"X : " + MARK + b"\r\n")),
        not_http("A8-bare-cr", with_head(b"X: a\r" + MARK + b"\r\n")),
        not_http("A8-lf-only", with_head(b"").replace(b"\r", b"")),
        not_http("A8-one-lf", with_head(b"X: a\nY: b\r\n")),
        not_http("A9-negative", PREDICT + b"Content-Length: -5\r\n\r\nabcde"),
        not_http("A9-plus", PREDICT + b"Content-Length: +5\r\n\r\nabcde"),
        not_http("A9-word", PREDICT + b"Content-Length: abc\r\n\r\nabcde"),
        not_http("A9-30-digits", PREDICT + b"Content-Length: " + b"1" * 30 + b"\r\n\r\nabcde"),
        not_http("A9-two", PREDICT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"),
        not_http("A10", PREDICT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        not_http("A10-1.0", b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        not_http("A11-gzip", PREDICT + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        not_http("A11-unknown", PREDICT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        not_http("A11-two", PREDICT + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        not_http("A12-size", CHUNKED + b"zz\r\n"),
        not_http("A12-extension", CHUNKED + b"5;" + b"e" * 100_000 + b"\r\nabcde\r\n0\r\n\r\n"),
        not_http("A12-extension-5-KB", CHUNKED + b"5;" + b"e" * 5_000 + b"\r\nabcde\r\n0\r\n\r\n"),
        not_http("A12-trailers", CHUNKED + b"0\r\n" + b"X: a\r\n" * 1_000 + b"\r\n"),
        not_http("A12-many", CHUNKED + chunks(12_000) + b"0\r\n\r\n"),
        Case("A18-nul", escaped("/api/v1/jobs/a%00b"), 400, "invalid_path"),
        Case("A18-no-utf-8", escaped("/api/v1/jobs/%ff%fe"), 400, "invalid_path"),
        Case("A18-no-hex", escaped("/api/v1/jobs/%zz"), 400, "invalid_path"),
        Case("A18-cut-off", escaped("/api/v1/jobs/a%2"), 400, "invalid_path"),
        Case("A18-query", rest("GET", "/healthz?x=%2"), 200),  # what a query means is for its route to say
        Case("A19-escaped", escaped("/..%2f..%2fetc/passwd"), 404, "not_found"),
        Case("A19-plain", escaped("/docs/../../etc/passwd"), 404, "not_found"),
    ]
)
def test_framing(victim: Victim, case: Case) -> None:
    case.check(victim)


@rows(
    [
        Case("A17", encoded("gzip", gzip.compress(GOOD)), 415, "unsupported_media_type"),
        Case("A17-bomb", encoded("gzip", gzip.compress(b"0" * 2**24)), 415, "unsupported_media_type"),
        Case("A17-identity", encoded("identity", GOOD), 200),
        Case("A20-trace", rest("TRACE", "/api/v1/predict"), 405, "method_not_allowed"),
        Case("A20-connect", rest("CONNECT", "/api/v1/predict"), 405, "method_not_allowed"),
        Case("A20-put", rest("PUT", "/api/v1/predict", content=GOOD), 405, "method_not_allowed"),
        Case("A20-put-models", rest("PUT", "/v1/models/default:predict", content=b"{}"), 400),  # TensorFlow Serving's
    ]
)
def test_meaning(victim: Victim, case: Case) -> None:
    case.check(victim)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PUT"])
def test_a20_says_what_is_allowed(victim: Victim, method: str) -> None:
    assert victim.client.request(method, "/api/v1/predict").headers["allow"] == "POST"


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"], ids=["A13", "A13-expect"])
def test_a13_a_length_far_too_large_is_refused_before_the_body(victim: Victim, expect: bytes) -> None:
    sent = PREDICT + expect + b"Content-Length: 1000000000000000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", victim.client.base_url.port), timeout=20) as connection:
        connection.sendall(sent)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    victim.check_unharmed()


@pytest.mark.parametrize("length", [{}, {"content-length": str(40 * MOST)}], ids=["A14-chunked", "A14-length"])
def test_a14_who_sends_far_too_much_reads_so(victim: Victim, length: dict[str, str]) -> None:
    body = (b"x" * 65536 for _ in range(40 * MOST // 65536))
    answer = victim.client.post("/api/v1/predict", content=body, headers=length)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    victim.check_unharmed()


def test_a16_a_body_that_ends_early_is_nobodys_fault(victim: Victim) -> None:
    before = failures(victim)
    assert answer_of(victim, PREDICT + b"Content-Length: 100\r\n\r\nabc", half_close=True) == b""
    victim.process.wait_for(lambda: b'code="499"' in victim.client.get("/metrics").content)
    assert failures(victim) == before


def failures(victim: Victim) -> list[str]:
    return [line for line in victim.client.get("/metrics").text.splitlines() if 'code="5' in line]


@pytest.mark.parametrize(("ranges", "status"), [(10_000, 431), (2_000, 200)], ids=["A21", "A21-16-KB"])
def test_a21_many_ranges(victim: Victim, ranges: int, status: int) -> None:
    assert victim.client.get(STYLE).status_code == 200
    answer = victim.client.get(STYLE, headers={"range": "bytes=" + ",".join(["0-0"] * ranges)})
    assert answer.status_code == status
    assert answer.elapsed.total_seconds() < 2
    victim.check_unharmed()
