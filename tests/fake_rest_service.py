"""A small real HTTP server that answers as a test tells it to, for whatever speaks our REST API."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

CREATED = "2026-11-23T19:00:00Z"
METRICS = {"count": 40, "accuracy": 0.95, "log_loss": 0.2, "auc": 0.99, "precision": 0.9, "recall": 1.0}
VERDICT = {"decision": "promote", "policy": "balanced", "reasons": ["nothing is live yet"], "candidate": METRICS}


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def files(self) -> int:
        return self.body.count(b'name="file"')


@dataclass(frozen=True)
class Reply:
    """What to answer: `body` is sent as JSON unless it is bytes."""

    body: object
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, code: str, message: str = "no", **headers: str) -> Reply:
    """An error in our shape."""
    error = {"error": {"code": code, "message": message, "request_id": "r1"}}
    return Reply(error, status, {name.replace("_", "-"): value for name, value in headers.items()})


def events(*jobs: dict[str, object]) -> Reply:
    """A stream of server-sent events, one per job."""
    kinds = ["end" if job["state"] not in ("queued", "running") else "progress" for job in jobs]
    text = "".join(
        f": alive\n\nevent: {kind}\ndata: {json.dumps(job)}\n\n" for kind, job in zip(kinds, jobs, strict=True)
    )
    return Reply(text.encode(), 200, {"Content-Type": "text/event-stream"})


def job(state: str = "queued", **changes: object) -> dict[str, object]:
    """A job as the service shows it."""
    ended = {"version": 1, "verdict": VERDICT} if state == "succeeded" else {}
    return {"id": "j1", "model": "default", "state": state, "created_at": CREATED, "newer": 1, **ended, **changes}


def version(number: int = 1, *, live: bool = True, **changes: object) -> dict[str, object]:
    """A version as the service shows it."""
    return {
        "version": number,
        "state": "AVAILABLE" if live else "END",
        "live": live,
        "status": {"error_code": "OK", "message": ""},
        "metrics": METRICS,
        "verdict": VERDICT,
        "job_id": "j1",
        "created_at": CREATED,
        "training_seconds": 9.5,
        **changes,
    }


def versions(*rows: dict[str, object], aspired: int | None = None) -> dict[str, object]:
    """The answer to GET /api/v1/versions."""
    live = next((row["version"] for row in rows if row["live"]), None)
    return {"live": live, "aspired": aspired or live, "versions": list(rows), "history": []}


Answerer = Callable[[Received], Reply]


class FakeRestService:
    """Answers by "METHOD /path": with each reply in turn, the last one for ever, or with what a function returns."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []
        self._replies: dict[str, list[Reply] | Answerer] = {}
        self._lock = threading.Lock()

    def answer(self, route: str, *replies: object) -> None:
        """Set the replies of a route; what is no Reply is the body of a 200."""
        self._replies[route] = [one if isinstance(one, Reply) else Reply(one) for one in replies]

    def answer_with(self, route: str, answerer: Answerer) -> None:
        """Let a function answer a route."""
        self._replies[route] = answerer

    def requests(self, route: str) -> list[Received]:
        """What came on a route."""
        return [one for one in self.received if f"{one.method} {one.path}" == route]

    def reply(self, received: Received) -> Reply:
        """Choose the reply to a request."""
        with self._lock:
            self.received.append(received)
            replies = self._replies.get(f"{received.method} {received.path}")
            if isinstance(replies, list):
                return replies.pop(0) if len(replies) > 1 else replies[0]
        return replies(received) if replies else refusal(404, "not_found", "nothing here")


@contextmanager
def serve() -> Iterator[FakeRestService]:
    """Run a fake service on a free port."""
    service = FakeRestService()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = service.reply(Received(self.command, parts.path, query, headers, body))
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815  # http.server's names

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
