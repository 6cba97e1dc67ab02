"""Errors as REST answers: ours and TensorFlow Serving's shape, chosen by path. LINE A step 1.

Nothing that came in is ever echoed as it was: FastAPI's own handlers answer NaN with 500 because they do.
"""

import logging
from collections.abc import Mapping

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from contract.errors import InvalidRequest, RipenError
from service.status_map import INTERNAL_MESSAGE, client_message, retry_after_s, status_of

CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
    500: "internal",
    507: "storage_full",
}
MESSAGES = {
    404: "There is nothing at this path; /openapi.json lists what there is.",
    405: "This path does not take this method; /openapi.json lists what it takes.",
    500: INTERNAL_MESSAGE,
}
RETRIABLE = (429, 503)
UNAUTHENTICATED = 401
CLIENT_GONE = 499  # nobody reads it; the metrics tell it from a failure
logger = logging.getLogger(__name__)


def is_tf_serving(scope: Scope) -> bool:
    """Whether a request speaks TensorFlow Serving's REST."""
    path = str(scope["path"]).lower()
    return path == "/v1" or path.startswith("/v1/")


def error_response(
    scope: Scope, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """One error in the shape of the request's protocol."""
    request_id = str(scope.get("state", {}).get("request_id", ""))
    body: object = {"error": {"code": code, "message": message, "request_id": request_id}}
    if is_tf_serving(scope):
        body = {"error": message}
    more = {"Retry-After": str(retry_after_s(status))} if status in RETRIABLE else {}
    more |= {"WWW-Authenticate": "Bearer"} if status == UNAUTHENTICATED else {}
    return Response(
        msgspec.json.encode(body), status, headers={**(headers or {}), **more}, media_type="application/json"
    )


def ripen_error_response(scope: Scope, error: RipenError) -> Response:
    """An error of ours, by the one table of statuses."""
    status = status_of(error)
    number = status.tf_serving_rest if is_tf_serving(scope) else status.rest
    return error_response(scope, number, error.code if number != 500 else CODES[500], client_message(error))


def add_handlers(app: FastAPI) -> None:
    """Send every error of the application through this file."""
    for kind in (RipenError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _on_error)


def answer_to(scope: Scope, error: Exception) -> Response:
    """The answer to a request that ended with this error; what the client must not read goes to the log."""
    if isinstance(error, RipenError):
        if status_of(error).rest == 500:
            _log(scope, error)
        return ripen_error_response(scope, error)
    if isinstance(error, HTTPException):
        status = error.status_code
        message = MESSAGES.get(status, str(error.detail))
        return error_response(scope, status, CODES.get(status, CODES[400]), message, error.headers)
    if isinstance(error, RequestValidationError):
        return ripen_error_response(scope, InvalidRequest(_explain(error)))
    if isinstance(error, ClientDisconnect):
        return Response(status_code=CLIENT_GONE)
    _log(scope, error)
    return error_response(scope, 500, CODES[500], INTERNAL_MESSAGE)


async def _on_error(request: Request, error: Exception) -> Response:
    return answer_to(request.scope, error)


def _log(scope: Scope, error: Exception) -> None:
    """Its request id finds it."""
    request_id = scope["state"]["request_id"]
    logger.error("Request %s failed: %s %s", request_id, scope["method"], scope["path"], exc_info=error)


def _explain(error: RequestValidationError) -> str:
    """Where and what, without the value that came."""
    told = []
    for one in error.errors():
        where = ".".join(map(_short, one["loc"]))
        if one["type"] == "json_invalid":
            told.append(f"The body is not valid JSON (at character {one['loc'][-1]}).")
        elif "class '" in one["msg"]:  # FastAPI's word for a text where a file is expected, and the other way round
            told.append(f"{where}: it is not of the right kind; expected what /openapi.json says.")
        elif where == "body":
            told.append(f"{where}: {one['msg']}; send JSON with `Content-Type: application/json`.")
        else:
            told.append(f"{where}: {one['msg']}.")
    return " ".join(told[:5])


def _short(part: str | int) -> str:
    """One step of the place, which may be a key that came: no more than its beginning, and no odd characters."""
    return "".join(c for c in str(part)[:40] if c.isprintable())
