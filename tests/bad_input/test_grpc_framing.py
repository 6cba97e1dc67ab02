"""Rows F of gRPC's wire: too large, too late, too many, or no HTTP/2 at all."""

import socket
import struct
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from bad_input_case import GOOD, Answer, Case, Victim, rows, serving

from protos import ripen_v1_pb2

MOST = 2**20
CLASSIFY = "/ripen.v1.Classifier/Classify"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HELLO = PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"ripenping"[:8]
GOAWAY, HEADERS = 7, 1
ENHANCE_YOUR_CALM = 11
QUESTION = ripen_v1_pb2.ClassifyRequest(images=[ripen_v1_pb2.Image(data=GOOD)]).SerializeToString()


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """With small limits, which are quick to pass."""
    folder = tmp_path_factory.mktemp("grpc-framing")
    with serving(folder, RIPEN_MAX_REQUEST_BYTES=MOST, RIPEN_REQUEST_TIMEOUT_S=3) as victim:
        yield victim


def call(message: bytes = QUESTION, **arguments: object) -> Callable[[Victim], Answer]:
    """One unary call; `arguments` are grpc's (timeout, metadata, compression)."""

    def send(victim: Victim) -> Answer:
        with grpc.insecure_channel(victim.process.grpc_address) as channel:
            try:
                channel.unary_unary(CLASSIFY)(message, **{"timeout": 20, **arguments})
            except grpc.RpcError as error:
                return Answer(error.code().name, None, error.details())
        return Answer("OK", None, "")

    return send


@rows(
    [
        Case("F1", call(b"\x00" * (MOST + 1)), "RESOURCE_EXHAUSTED"),
        Case("F2", call(b"\x00" * 50 * 10**6, compression=grpc.Compression.Gzip), "RESOURCE_EXHAUSTED"),
        Case("F6-passed", call(timeout=-1), "DEADLINE_EXCEEDED"),
        Case("F6-1-us", call(timeout=1e-6), "DEADLINE_EXCEEDED"),
        Case("F6-10^9-s", call(timeout=1e9), "OK"),
        Case("F9", call(metadata=[("x", "a" * 20_000)]), "RESOURCE_EXHAUSTED"),
    ]
)
def test_wire(victim: Victim, case: Case) -> None:
    case.check(victim)


def connect(victim: Victim) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(victim.process.grpc_address.rsplit(":", 1)[1])), timeout=20)


def frames(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and payload of each HTTP/2 frame until the service closes; its pings are answered."""
    with connection.makefile("rb") as stream:
        while head := stream.read(9):
            kind, flags = head[3], head[4]
            payload = stream.read(int.from_bytes(head[:3], "big"))
            if kind == PING[3] and not flags:
                connection.sendall(PING[:4] + b"\x01" + PING[5:9] + payload)
            yield kind, flags, payload


def test_f12_a_flood_of_pings_is_ended(victim: Victim) -> None:
    with connect(victim) as flood:
        began = time.monotonic()
        flood.sendall(HELLO + PING * 50)
        last = [payload for kind, _, payload in frames(flood) if kind == GOAWAY][-1]
        assert struct.unpack(">I", last[4:8])[0] == ENHANCE_YOUR_CALM
        assert time.monotonic() - began < 5
    victim.check_unharmed()


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00" + b"k" * 200], ids=["http", "tls"]
)
def test_f12_another_protocol_is_ended(victim: Victim, sent: bytes) -> None:
    with connect(victim) as other:
        other.sendall(sent)
        assert all(kind != HEADERS for kind, _, _ in frames(other))
    victim.check_unharmed()


def test_a_call_whose_message_never_comes_is_ended_though_its_client_lives(victim: Victim) -> None:
    fields = [(b":path", CLASSIFY.encode()), (b":authority", b"localhost"), (b"te", b"trailers")]
    fields.append((b"content-type", b"application/grpc"))
    block = b"\x83\x86" + b"".join(b"\x00%c%s%c%s" % (len(name), name, len(value), value) for name, value in fields)
    with connect(victim) as stalled:
        stalled.sendall(HELLO + struct.pack(">I", len(block))[1:] + b"\x01\x04\x00\x00\x00\x01" + block)
        ended = next(payload for kind, _, payload in frames(stalled) if kind == HEADERS)
        assert b"The message did not come within 3 s" in ended.replace(b"%20", b" ")
    victim.check_unharmed()


def test_a_call_without_a_message_is_told_so(victim: Victim) -> None:
    with grpc.insecure_channel(victim.process.grpc_address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary(CLASSIFY)(iter(()), timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
