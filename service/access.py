"""Around every HTTP request: who may ask, how much, under which id; and the count of it. LINE A step 1.

Pure ASGI. Listening on loopback is not safe by itself: a form is sent across origins without asking, and DNS rebinding
reaches 127.0.0.1, so Host and Origin are checked.
"""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.errors import InvalidRequest, Overloaded
from contract.settings import LOOPBACK, Settings
from service.metrics import Metrics
from service.protocols.rest_errors import CLIENT_GONE, error_response, is_tf_serving, ripen_error_response

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SPARE_REQUESTS = 256  # beyond the queue: health, metrics, learning
OPERATIONS = ("/healthz", "/readyz", "/metrics", "/monitoring/prometheus/metrics")
DISCARD_S = 1.0  # a client that still sends reads the 413 only if somebody takes what it sends


class Access:
    """The outermost application.

    Args:
        app: whatever answers.
        known_models: the closed set of the `model` label.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, known_models: Callable[[], frozenset[str]], settings: Settings
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._known_models = known_models
        self.max_bytes = settings.max_request_bytes
        self._max_requests = settings.queue_size + SPARE_REQUESTS
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope, receive, send, self)
        self._in_flight += 1
        try:
            refusal = self._refusal(scope, exchange.headers)
            if refusal is not None:
                await exchange.refuse(refusal)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except Exception:  # noqa: S110  # answered with 500 and logged by rest_errors; uvicorn would log it again
            pass
        finally:
            self._in_flight -= 1
            exchange.finish()

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Why this request is not even read, or None."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if _host_name(f"//{host}") not in LOOPBACK:
            return ripen_error_response(scope, InvalidRequest("The Host header names another machine than this one."))
        if origin is not None and _host_name(origin) not in LOOPBACK:
            return ripen_error_response(scope, InvalidRequest("Pages of other origins may not use this service."))
        if self._in_flight > self._max_requests and scope["path"] not in OPERATIONS:
            return ripen_error_response(
                scope, Overloaded(f"{self._max_requests} requests are being answered already; come back in a second.")
            )
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.max_bytes:
            return error_response(scope, 413, "request_too_large", _too_large(self.max_bytes))
        return None

    def count(self, scope: Scope, *, status: int, seconds: float) -> None:
        """Count one request, whose `state` the routes have filled in."""
        state = scope["state"]
        route = scope.get("route")
        model = state.get("model", "")
        self._metrics.observe_request(
            protocol="tf_serving_rest" if is_tf_serving(scope) else "rest",
            method=state.get("method") or getattr(route, "name", "unmatched"),
            model=model if model in self._known_models() else "unknown",
            version=state.get("version"),
            code=str(status),
            seconds=seconds,
        )


class _Exchange:
    """One request's two directions: bounded on the way in, marked with the request's id on the way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, access: Access) -> None:
        self.headers = Headers(scope=scope)
        sent_id = self.headers.get("x-request-id", "")
        self._request_id = sent_id if REQUEST_ID.fullmatch(sent_id) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = self._request_id
        self._began = time.perf_counter()
        self._status = CLIENT_GONE  # until an answer starts
        self._finished = False
        self._scope = scope
        self._receive = receive
        self._send = send
        self._access = access
        self._received = 0

    async def receive(self) -> Message:
        """The next piece of the body; raises 413 where it grows beyond the limit."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._access.max_bytes:
            raise HTTPException(413, _too_large(self._access.max_bytes))
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on; it is counted before its last piece, so that whoever has it finds it counted."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id.encode())]
        elif not message.get("more_body"):
            self.finish()
        await self._send(message)

    def finish(self) -> None:
        """Count the request, once."""
        if not self._finished:
            self._finished = True
            self._access.count(self._scope, status=self._status, seconds=time.perf_counter() - self._began)

    async def refuse(self, response: Response) -> None:
        """Answer without the application, after taking some of what the client still sends."""
        if "expect" not in self.headers:  # a client that asks first has not begun to send
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_S):
                    while (await self._receive()).get("more_body"):
                        pass
        await response(self._scope, self._receive, self.send)


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _too_large(max_bytes: int) -> str:
    return f"The request is larger than {max_bytes} bytes; send fewer images at once."
