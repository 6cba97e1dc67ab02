"""What a load sends, to whom and when. Neither line: what `ripen bench` and the benchmarks ask of the generator.

A *target* is a server and a way to ask it, a *sender* one caller of it with one request under way at most.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

ANSWER_S = 30.0  # after which a request counts as unanswered
MOST_OUTSTANDING = 512  # requests of an open loop under way; above it they are not sent, and count as errors


class Answer(NamedTuple):
    """What became of one request: `code` is empty for a right answer, otherwise the reason's name.

    `version` is 0 where a server names none; `probability` is P(`classes[1]`) in [0, 1].
    """

    version: int = 0
    probability: float = float("nan")
    code: str = ""
    message: str = ""


class Sender(Protocol):
    """One caller. The generator never has two requests under way at one sender."""

    async def open(self) -> None:
        """Connect. Called before what is measured begins; `send` connects again by itself.

        Raises:
            ServiceUnreachable
        """

    async def send(self, message: bytes) -> Answer:
        """Send what the target encoded. Whatever goes wrong outside is an answer with a code; nothing is raised."""

    async def close(self) -> None:
        """Give back what is this sender's own."""


class Target(Protocol):
    """A server and a way to ask it."""

    def encode(self, image: bytes) -> bytes:
        """The request for one encoded image; called once per image, before the load."""

    def sender(self) -> Sender:
        """Make one more caller."""

    async def close(self) -> None:
        """Give back what the senders share."""


@dataclass(frozen=True)
class ClosedLoop:
    """So many callers, each of which sends its next request when it has an answer.

    Attributes:
        duration_s: what is measured, after `warm_up_s`.
        count: ends the load earlier, after so many requests in all.
    """

    concurrency: int
    duration_s: float = 10.0
    warm_up_s: float = 2.0
    count: int | None = None


@dataclass(frozen=True)
class OpenLoop:
    """So many requests per second, whatever the answers do; latency counts from the moment a request was due.

    Attributes:
        duration_s: what is measured, after `warm_up_s`.
        outstanding: requests under way at most, so that a dead server costs a bounded amount of memory.
    """

    rate: float
    duration_s: float = 10.0
    warm_up_s: float = 2.0
    outstanding: int = MOST_OUTSTANDING


Plan = ClosedLoop | OpenLoop
