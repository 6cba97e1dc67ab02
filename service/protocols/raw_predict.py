"""POST /api/v1/predict with a raw image, past FastAPI's routing, which costs 0.1 ms a request. LINE A step 1.

Only the plain case: a form, or a parameter that is not as it should be, goes on to the route of `rest_predict.py`,
which describes both and says what is wrong. Tests ask both ways the same.
"""

import re
from dataclasses import dataclass

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from contract.records import DEFAULT_MODEL
from service.http_exchange import Exchange
from service.predictor import PredictRequest
from service.protocols.core import Core
from service.protocols.rest_answers import PredictAnswer
from service.protocols.rest_bodies import FORM
from service.protocols.rest_errors import answer_to
from service.protocols.rest_predict import MOST_MS, TIMEOUT, told

PATH = "/api/v1/predict"
QUERY = re.compile(rb"(?:model=([a-z0-9][a-z0-9_-]{0,62}))?&?(?:version=([1-9][0-9]{0,8}))?")
MILLISECONDS = re.compile(rb"[1-9][0-9]{0,6}")
TIMEOUT_HEADER, FORM_TYPE = TIMEOUT.lower().encode(), FORM.encode()
JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What stands beside the image."""

    model: str
    version: int | None
    timeout_s: float | None


class RawPredict:
    """Answers raw images; everything else is the application's."""

    def __init__(self, application: ASGIApp, core: Core) -> None:
        self._application = application
        self._core = core

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = _read(scope) if scope["path"] == PATH and scope["method"] == "POST" else None
        if asked is None:
            await self._application(scope, receive, send)
            return
        state = scope["state"]
        state["method"], state["model"] = "predict", asked.model
        try:
            answer = await self._predict(asked, scope, receive)
        except Exception as error:  # as the application's own handlers do
            await answer_to(scope, error)(scope, receive, send)
            return
        if answer is not None:
            await _send_json(answer, send)

    async def _predict(self, asked: _Asked, scope: Scope, receive: Receive) -> PredictAnswer | None:
        """The answer; None where the client has gone and nobody waits for it."""
        predictor = self._core.predictor
        refusal = predictor.refuse_early(asked.model, asked.version, asked.timeout_s)
        if refusal is not None:
            raise refusal
        image = await _body(receive)
        exchange: Exchange = scope["state"]["exchange"]
        request_id = scope["state"]["request_id"]
        request = PredictRequest(asked.model, [image], asked.version, asked.timeout_s, request_id)
        answer = await exchange.while_connected(predictor.predict(request))
        if answer is None:
            return None
        scope["state"]["version"] = answer.version
        return told(answer, [None], request_id)


def _read(scope: Scope) -> _Asked | None:
    """The parameters, where they are plain."""
    query = QUERY.fullmatch(scope["query_string"])
    if query is None:
        return None
    model, version = query.groups()
    timeout_s = None
    for name, value in scope["headers"]:
        if name == b"content-type" and value.lower().startswith(FORM_TYPE):
            return None
        if name == TIMEOUT_HEADER:
            if timeout_s is not None or not MILLISECONDS.fullmatch(value) or int(value) > MOST_MS:
                return None
            timeout_s = int(value) / 1000
    return _Asked(model.decode() if model else DEFAULT_MODEL, int(version) if version else None, timeout_s)


async def _body(receive: Receive) -> bytes:
    """The whole body, which whoever calls us keeps within its limits."""
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message["body"])
        more = message["more_body"]
    return b"".join(pieces)


async def _send_json(answer: PredictAnswer, send: Send) -> None:
    body = msgspec.json.encode(answer)
    headers = [JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
