"""HTTP to the service: repeats what may be repeated, and turns every foreign error into one of ours. Neither line."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

import httpx
import msgspec

from ripen.credentials import CA_VARIABLE, KEY_VARIABLE, Trust, authorization, trusted
from ripen.errors import ApiError, ServiceUnreachable, UnexpectedAnswer

T = TypeVar("T")
REPEATS = 4
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
COME_BACK_LATER = (429, 503)
UNAUTHENTICATED = 401
SILENCE_S = 30.0  # of an event stream; the service sends a comment every 10 s
UPLOAD_ANSWER_S = 3600.0  # every image of an archive is decoded before the answer
PIECE_BYTES = 2**18
File = tuple[str, bytes]  # name and content


@dataclass(frozen=True)
class Request:
    """One request; `repeatable` says that sending it twice does what sending it once does."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    form: Mapping[str, str] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


@dataclass(frozen=True)
class Upload:
    """One file that is sent as the body of a POST, a piece at a time, and may take long to be answered."""

    path: str
    file: Path
    content_type: str
    query: Mapping[str, str] = field(default_factory=dict)


class _ErrorBody(msgspec.Struct):
    code: str
    message: str
    request_id: str = ""


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody


class Connection:
    """Sends requests to one service. Thread-safe.

    Args:
        url: without a path.
        timeout_s: for connecting, and for each wait on the socket.
        api_key, trust: as the client's.
    """

    def __init__(self, url: str, timeout_s: float, api_key: str | None = None, trust: Trust = None) -> None:
        self._url = url
        headers = authorization(api_key)
        self._has_key = bool(headers)
        try:
            # No proxies out of the environment: the service listens on loopback, where no proxy reaches it.
            self._http = httpx.Client(
                base_url=url, timeout=timeout_s, headers=headers, verify=trusted(trust), trust_env=False
            )
        except httpx.InvalidURL as error:
            raise ServiceUnreachable(
                f"{url!r} is not a URL ({error}); expected one like http://127.0.0.1:8501."
            ) from error

    def close(self) -> None:
        """Give back the sockets."""
        self._http.close()

    def ask(self, answer: type[T], request: Request) -> T:
        """Send a request and decode its answer.

        Raises:
            ServiceUnreachable, UnexpectedAnswer, ApiError
        """
        response = self._answer(request)
        return self._decoded(answer, response, response.content)

    def fetch(self, request: Request) -> bytes:
        """Send a request and return its answer's body as it is. Raises ServiceUnreachable, ApiError."""
        return self._answer(request).content

    def _answer(self, request: Request) -> httpx.Response:
        response = self._send_repeatedly(request)
        if not response.is_success:
            raise self._refusal(response)
        return response

    def upload(self, answer: type[T], upload: Upload, on_sent: Callable[[int, int], None]) -> T:
        """Send a file and decode its answer.

        Args:
            on_sent: called with (bytes sent, bytes in all).

        Raises:
            ServiceUnreachable, UnexpectedAnswer, ApiError
        """
        headers = {"Content-Type": upload.content_type, "Content-Length": str(upload.file.stat().st_size)}
        timeout = httpx.Timeout(self._http.timeout.connect, read=UPLOAD_ANSWER_S)
        with upload.file.open("rb") as file:
            pieces = _pieces(file, int(headers["Content-Length"]), on_sent)
            try:
                response = self._http.post(
                    upload.path, params=upload.query, content=pieces, headers=headers, timeout=timeout
                )
            except httpx.TransportError as error:
                raise self.unreachable(error) from error
        if not response.is_success:
            raise self._refusal(response)
        return self._decoded(answer, response, response.content)

    def events(self, answer: type[T], path: str, query: Mapping[str, str]) -> Iterator[T]:
        """Yield the decoded `data` of each server-sent event until the stream ends.

        Raises:
            httpx.TransportError: the stream broke; the caller knows whether to connect again.
            UnexpectedAnswer, ApiError
        """
        timeout = httpx.Timeout(self._http.timeout.connect, read=SILENCE_S)
        with self._http.stream("GET", path, params=query, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield self._decoded(answer, response, line.removeprefix("data:").encode())

    def unreachable(self, error: httpx.TransportError) -> ServiceUnreachable:
        """Our error for a connection that failed."""
        if isinstance(error, httpx.ReadTimeout):
            return ServiceUnreachable(f"The service at {self._url} did not answer in time; is it overloaded?")
        reason = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            return ServiceUnreachable(
                f"The certificate at {self._url} is not trusted ({reason}); set {CA_VARIABLE} to its authority's, "
                "and ask by a name that it bears."
            )
        return ServiceUnreachable(f"No service answers at {self._url} ({reason}); start one with `ripen up`.")

    def _send_repeatedly(self, request: Request) -> httpx.Response:
        repeats = REPEATS if request.repeatable else 0
        for turn in range(repeats + 1):
            pause_s = FIRST_PAUSE_S * 2**turn
            try:
                response = self._send(request)
            except httpx.TransportError as error:
                if turn == repeats or isinstance(error, httpx.ReadTimeout):
                    raise self.unreachable(error) from error
            else:
                if turn == repeats or response.status_code not in COME_BACK_LATER:
                    return response
                pause_s = _retry_after_s(response, pause_s)
            time.sleep(pause_s)
        raise AssertionError("the last turn returns or raises")

    def _send(self, request: Request) -> httpx.Response:
        return self._http.request(
            request.method,
            request.path,
            params=request.query,
            json=request.json,
            data=request.form or None,
            files=[("file", file) for file in request.files] or None,
            headers=request.headers,
        )

    def _decoded(self, answer: type[T], response: httpx.Response, data: bytes) -> T:
        try:
            return msgspec.json.decode(data, type=answer)
        except msgspec.DecodeError as error:
            raise self._unexpected(response) from error

    def _refusal(self, response: httpx.Response) -> ApiError | UnexpectedAnswer:
        try:
            body = msgspec.json.decode(response.content, type=_ErrorAnswer).error
        except msgspec.DecodeError:
            return self._unexpected(response)
        message = body.message if response.status_code != UNAUTHENTICATED else self._explain_key(body.message)
        return ApiError(body.code, message, status=response.status_code, request_id=body.request_id)

    def _explain_key(self, message: str) -> str:
        if self._has_key:
            return f"{message} The one in {KEY_VARIABLE} was sent; `ripen keys list` shows which are live."
        return f"{self._url} asks for an API key; set {KEY_VARIABLE} to one. `ripen keys add` makes one over there."

    def _unexpected(self, response: httpx.Response) -> UnexpectedAnswer:
        return UnexpectedAnswer(
            f"{self._url} answered {response.request.method} {response.request.url.path} with status "
            f"{response.status_code} and a body that is not Ripen's; is another program listening there?"
        )


def _pieces(file: IO[bytes], size: int, on_sent: Callable[[int, int], None]) -> Iterator[bytes]:
    sent = 0
    while piece := file.read(min(PIECE_BYTES, size - sent)):  # not more than was announced, should it grow meanwhile
        yield piece
        sent += len(piece)
        on_sent(sent, size)


def _retry_after_s(response: httpx.Response, otherwise_s: float) -> float:
    """Seconds to wait by the `Retry-After` header, within reason."""
    text = response.headers.get("retry-after", "")
    return min(float(text), LONGEST_PAUSE_S) if text.isdecimal() else otherwise_s
