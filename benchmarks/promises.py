"""What a benchmark promises, and how it ends: lines that hold or fail, a JSON file, an exit status."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Line:
    """One promise, and what came of it."""

    promise: str
    seen: str
    holds: bool


def finish(name: str, result: object, lines: Sequence[Line]) -> int:
    """Print the lines, write `results/<name>.json`; the exit status: 0 where all hold."""
    for line in lines:
        print(f"{'holds ' if line.holds else 'FAILS '} {line.promise}: {line.seen}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    return 0 if all(line.holds for line in lines) else 1
