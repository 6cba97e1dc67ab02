"""Around every HTTP request: who may ask, how much, under which id; and the count of it. LINE A step 1.

Pure ASGI. `Callers` says who may ask; that is settled before anything of the body is read.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.errors import Draining, Overloaded, RipenError, Unavailable
from contract.settings import Settings
from service.callers import Callers
from service.http_exchange import Exchange
from service.metrics import Metrics
from service.protocols.rest_errors import CLIENT_GONE, error_response, is_tf_serving, ripen_error_response

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
SPARE_REQUESTS = 256  # beyond the queue: health, metrics, learning
MAX_STREAMS = 64  # job events: open for minutes, so they have places of their own
STREAM = re.compile(r"/api/v1/jobs/[^/]+/events")
OPERATIONS = ("/healthz", "/readyz", "/metrics", "/monitoring/prometheus/metrics")
PIECE_S = 10.0  # the longest pause within a body; without it, silent clients would keep their places for ever
DRIP_S, DRIP_BYTES_PER_S = 10.0, 1024  # after the first a body must have come at the second on average
PLAIN_ENCODINGS = (b"", b"identity")
IMPORT = "/api/v1/examples:import"
HELD_BYTES = 512 * 2**20
IMPORT_S = 3600.0  # a whole data set over a slow line


@dataclass(eq=False)
class _Places:
    """How many requests of one kind may be under way, and how many are."""

    most: int
    taken: int = 0


@dataclass(frozen=True)
class BodyLimits:
    """How large a body may be, and how long it may take to come."""

    max_bytes: int
    timeout_s: float


class Access:
    """The outermost application.

    Args:
        app: whatever answers.
        known_models: the closed set of the `model` label.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        known_models: Callable[[], frozenset[str]],
        settings: Settings,
        callers: Callers,
    ) -> None:
        self._callers = callers
        self._app = app
        self._metrics = metrics
        self._known_models = known_models
        self._limits = BodyLimits(settings.max_request_bytes, settings.request_timeout_s)
        self._import_limits = BodyLimits(settings.max_import_bytes, max(IMPORT_S, settings.request_timeout_s))
        self.most_held_bytes = max(HELD_BYTES, 2 * settings.max_request_bytes)
        self.draining = False  # from when on only health and metrics are answered
        self._requests = _Places(settings.queue_size + SPARE_REQUESTS)
        self._streams = _Places(MAX_STREAMS)
        self.held_bytes = 0  # of all bodies under way, but for imports, which go to the disk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = _Guarded(scope, receive, send, self)
        places = self._streams if STREAM.fullmatch(scope["path"]) else self._requests
        places.taken += 1
        try:
            refusal = self._refusal(scope, exchange, places)
            if refusal is not None:
                await exchange.refuse(refusal)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except Exception:  # noqa: S110  # answered with 500 and logged by rest_errors; uvicorn would log it again
            pass
        finally:
            places.taken -= 1
            exchange.finish()

    def _refusal(self, scope: Scope, exchange: "_Guarded", places: _Places) -> Response | None:
        """Why this request is not even read, or None."""
        path = scope["path"]
        try:
            actor = self._callers.of_request(
                scope["method"], path, Headers(scope=scope), (scope.get("client") or [""])[0]
            )
        except RipenError as error:
            return ripen_error_response(scope, error)
        scope["state"]["actor"] = actor
        busy = self._busy(places)
        if busy is not None and path not in OPERATIONS:
            self._metrics.count_rejection(busy.code)
            return ripen_error_response(scope, busy)
        length = exchange.fields.get(b"content-length", b"0")
        most = exchange.limits.max_bytes
        if length.isdigit() and int(length) > most:
            return error_response(scope, 413, "request_too_large", _too_large(most))
        if b"content-encoding" in exchange.fields and _encoded(scope) and not is_tf_serving(scope):
            return error_response(scope, 415, "unsupported_media_type", "The body is encoded; send it as it is.")
        return None

    def _busy(self, places: _Places) -> Unavailable | None:
        """Why no request of this kind is taken now, or None."""
        if self.draining:
            return Draining("The service is stopping; send the request to another one, or again in a moment.")
        if places.taken > places.most:
            return Overloaded(f"{places.most} such requests are being answered already; come back in a second.")
        return None

    def limits_of(self, scope: Scope) -> BodyLimits:
        """What a request's body may be."""
        return self._import_limits if scope["path"] == IMPORT else self._limits

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


class _Guarded:
    """One request's two directions: bounded on the way in, marked with the request's id on the way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, access: Access) -> None:
        self.fields: dict[bytes, bytes] = dict(scope["headers"])
        self.limits = access.limits_of(scope)
        sent_id = self.fields.get(b"x-request-id", b"")
        self._request_id = sent_id if REQUEST_ID.fullmatch(sent_id) else os.urandom(16).hex().encode()
        state = scope.setdefault("state", {})
        state["request_id"] = self._request_id.decode()
        self._exchange: Exchange | None = state.get("exchange")
        self._began = time.perf_counter()
        self._status = CLIENT_GONE  # until an answer starts
        self._finished = False
        self._scope = scope
        self._receive = receive
        self._send = send
        self._access = access
        self._received = self._held = 0
        self._complete = False

    async def receive(self) -> Message:
        """The next piece of the body, then the client's leaving, whenever that is.

        Raises:
            HTTPException: 408 where the body stops coming, 413 where it grows beyond the limit.
        """
        message = await (self._receive() if self._complete else self._receive_in_time())
        self._complete = not message.get("more_body", False)
        self._take(len(message.get("body", b"")))
        if self._received > self.limits.max_bytes:
            raise HTTPException(413, _too_large(self.limits.max_bytes))
        return message

    def _take(self, count: int) -> None:
        """Count bytes in. Raises Overloaded where all bodies together hold too many."""
        self._received += count
        if self._scope["path"] == IMPORT:
            return
        self._access.held_bytes += count
        self._held += count
        if self._access.held_bytes > self._access.most_held_bytes and count:
            raise Overloaded("The bodies of the requests under way hold too much memory; come back in a second.")

    async def _receive_in_time(self) -> Message:
        left_s = self._began - time.perf_counter()
        left_s += min(self.limits.timeout_s, DRIP_S + self._received / DRIP_BYTES_PER_S)
        if left_s > 0 and self._exchange is not None and self._exchange.has_news:
            return await self._receive()  # a timer costs more than all of this
        try:
            async with asyncio.timeout(min(PIECE_S, left_s)):
                return await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, _too_slow(self.limits.timeout_s), {"Connection": "close"}) from error

    async def send(self, message: Message) -> None:
        """Pass the answer on; it is counted before its last piece, so that whoever has it finds it counted."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id)]
        elif not message.get("more_body"):
            self.finish()
        await self._send(message)

    def finish(self) -> None:
        """Count the request, once."""
        self._access.held_bytes -= self._held
        self._held = 0
        if not self._finished:
            self._finished = True
            self._access.count(self._scope, status=self._status, seconds=time.perf_counter() - self._began)

    async def refuse(self, response: Response) -> None:
        """Answer without the application. What the client still sends is taken for a while by its connection."""
        await response(self._scope, self._receive, self.send)


def _encoded(scope: Scope) -> bool:
    return any(value.lower() not in PLAIN_ENCODINGS for name, value in scope["headers"] if name == b"content-encoding")


def _too_slow(timeout_s: float) -> str:
    return (
        f"The body did not come in time; send all of it within {timeout_s:g} s, without a pause of {PIECE_S:g} s and "
        f"at {DRIP_BYTES_PER_S} bytes per second at least."
    )


def _too_large(max_bytes: int) -> str:
    return f"The request is larger than {max_bytes} bytes; send fewer images at once."
