"""What a version's parent and its engine process say to each other. LINE A step 5.

Frames over a stream socket: 8 bytes big-endian length, then MessagePack. The parent sends one LoadOrder and gets one
LoadReport; then Batches and BatchResults with the same `id`, in any order. Either end going away ends the other.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from contract.artifact import Manifest
from contract.errors import EngineUnavailable, RipenError
from contract.records import Failure
from service.runtime_choice import Wish

HEADER = struct.Struct(">Q")


@dataclass(frozen=True)
class LoadOrder:
    """What to load and how. `threads` 0 means one per core."""

    model: str
    version: int
    folder: str
    manifest_sha256: str
    max_batch_size: int
    threads: int
    max_image_bytes: int
    max_image_pixels: int
    wish: Wish = field(default_factory=Wish)


@dataclass(frozen=True)
class Capacity:
    """What an engine takes, as it measured while it warmed up.

    Attributes:
        runtime: `<runtime>-<precision>`; empty while no engine was ever there.
        notes: why runtimes that might be faster do not serve.
        workers: batches that it works on at once.
        in_flight: batches that it wants to have at once; no fewer.
        batch_size: images per batch, at most.
        image_seconds: per image, decoded too, while it always has work.
    """

    runtime: str = ""
    notes: tuple[str, ...] = ()
    workers: int = 1
    in_flight: int = 1
    batch_size: int = 1
    image_seconds: float = 0.01


@dataclass(frozen=True)
class LoadReport:
    """The verified manifest of a version that is warm and what its engine takes, or why there is none."""

    manifest: Manifest | None = None
    capacity: Capacity = field(default_factory=Capacity)
    failure: Failure | None = None


@dataclass(frozen=True)
class EngineImage:
    """One image: an encoded file, or the raw (H, W, 3) uint8 pixels of the version's own size.

    From `deadline` on, which is of `time.monotonic`, one clock for all processes, nobody waits for its answer.
    """

    data: bytes
    encoded: bool
    deadline: float = math.inf


@dataclass(frozen=True)
class Batch:
    id: int
    images: tuple[EngineImage, ...]


@dataclass(frozen=True)
class BatchResult:
    """Per image P(`classes[1]`) or why it alone was refused; `failure` where the batch as a whole failed."""

    id: int
    outcomes: tuple[float | Failure, ...] = ()
    failure: Failure | None = None
    decode_seconds: float = 0.0
    infer_seconds: float = 0.0


class EngineDied(EngineUnavailable):
    """The engine ended while it had the images; clients hear of an EngineUnavailable."""


Message = LoadOrder | LoadReport | Batch | BatchResult


def encode_frame(message: Message) -> tuple[bytes, bytes]:
    """Header and body of one message."""
    body = msgspec.msgpack.encode(message)
    return HEADER.pack(len(body)), body


def failure_of(error: RipenError) -> Failure:
    """An error as it travels."""
    return Failure(error.code, error.message)


def error_of(failure: Failure) -> RipenError:
    """The error that travelled as `failure`."""
    for kind in _subclasses(RipenError):
        if kind().code == failure.code:
            return kind(failure.message)
    return EngineUnavailable(failure.message)


def _subclasses(kind: type[RipenError]) -> Iterator[type[RipenError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _subclasses(child)
