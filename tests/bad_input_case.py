"""One row of the bad-input corpus, and what must hold after it: the stated answer, and nothing else changed.

Used by every file of tests/bad_input. A row sends something bad to a real `python -m service` and names the answer:
a REST status (int) or a gRPC code's name (str), and the error's code where the protocol has one.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
import tiny_version
from service_process import Process, publish, started

GOOD = tiny_version.picture(1)
LONGEST_S = 10.0  # of one answer; 2 s are stated, but this machine may do ten other things
GROWTH_BYTES = 64 * 2**20
LONGEST_ANSWER = 4096
MARKER = "zq7marker"  # rows put it into what they send; it must not come back
UNSPEAKABLE = ("Traceback", "/site-packages", ".py", "Exception", "ValueError", "TypeError", "pydantic", MARKER)


@dataclass(frozen=True)
class Answer:
    """What came back: `status` is an HTTP status or the name of a gRPC code, `text` all of the answer."""

    status: int | str
    code: str | None
    text: str


@dataclass
class Victim:
    """The service that all rows of a file are sent to."""

    process: Process
    home: Path
    folder_for_temporary_files: Path
    expected: float  # what it answers for GOOD
    channel: grpc.Channel

    @property
    def client(self) -> httpx.Client:
        return self.process.client

    def resident_bytes(self) -> int:
        """Of the front process, which takes all requests apart."""
        pages = int(Path(f"/proc/{self.process.popen.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def kept_bytes(self) -> int:
        """What it keeps of predictions on purpose."""
        lines = self.client.get("/metrics").text.splitlines()
        return int(sum(float(line.split()[1]) for line in lines if line.startswith("ripen_kept_images_bytes ")))

    def check_unharmed(self) -> None:
        """It lives, answers the next good request as before, and left no file behind."""
        assert self.process.popen.poll() is None, self.process.log.read_text()
        answer = self.client.post("/api/v1/predict", content=GOOD)
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][0]["probability"] == pytest.approx(self.expected, abs=1e-6)
        assert not [*self.folder_for_temporary_files.iterdir()]


@dataclass(frozen=True)
class Case:
    """One row: `send` does the bad thing. A `status` below 400 means that it is no error at all."""

    id: str
    send: Callable[[Victim], Answer]
    status: int | str
    code: str | None = None

    def check(self, victim: Victim) -> None:
        """Send it, compare the answer, and look whether the service is as it was."""
        self.compare(victim)
        victim.check_unharmed()

    def compare(self, victim: Victim) -> None:
        """Send it and compare the answer."""
        began = time.monotonic()
        answer = self.send(victim)
        seconds = time.monotonic() - began
        assert (answer.status, answer.code) == (self.status, self.code), answer.text[:500]
        assert seconds < LONGEST_S
        if not isinstance(answer.status, int) or answer.status >= 400:
            assert len(answer.text) < LONGEST_ANSWER
            assert not [word for word in (*UNSPEAKABLE, str(victim.home)) if word in answer.text], answer.text


def rows(cases: list[Case]) -> pytest.MarkDecorator:
    """`@rows([...])` above `def test_...(victim, case)`: one test per row, named by its id."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.id)


def rest(method: str, path: str, **arguments: object) -> Callable[[Victim], Answer]:
    """Sends one HTTP request; `arguments` are httpx's (content, headers, files, data, params, json)."""

    def send(victim: Victim) -> Answer:
        answer = victim.client.request(method, path, **arguments)
        return read_answer(answer)

    return send


def read_answer(answer: httpx.Response) -> Answer:
    """An HTTP answer; errors must have the shape of their protocol."""
    if answer.status_code < 400:
        return Answer(answer.status_code, None, answer.text)
    error = answer.json()["error"]
    if answer.request.url.path.startswith("/v1/"):
        assert isinstance(error, str)
        return Answer(answer.status_code, None, answer.text)
    assert error.keys() == {"code", "message", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    return Answer(answer.status_code, error["code"], answer.text)


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[Victim]:
    """A service with one live tiny version of `default` (apple, orange); looks in the end what all rows did to it."""
    home, temporary = folder / "home", folder / "temporary"
    temporary.mkdir()
    expected = publish(home, 1, bias=0.5)
    with (
        started(home, TMPDIR=temporary, **settings) as process,
        grpc.insecure_channel(process.grpc_address) as channel,
    ):
        process.wait_for(process.ready)
        victim = Victim(process, home, temporary, expected, channel)
        victim.check_unharmed()
        before = victim.resident_bytes()
        yield victim
        victim.check_unharmed()
        grown = victim.resident_bytes() - before - victim.kept_bytes()
        print(f"The front process grew by {grown / 2**20:.1f} MiB.")
        assert grown < GROWTH_BYTES
        assert "Traceback" not in process.log.read_text()
