"""Request bodies of our REST: strict JSON and bounded forms, before FastAPI makes values of them. LINE B steps 1-2.

A router whose routes take a body has `route_class=StrictRoute`; a test walks all routes and looks.
"""

import errno
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from contract.errors import InvalidRequest
from service.protocols import strict_json

MAX_JSON_BYTES = 64 * 1024  # recipes, names and reasons; predictions have their own reader
MAX_FILES = 256
MAX_TEXT_FIELDS = 16
MAX_TEXT_BYTES = 64 * 1024
PLAIN_ENCODINGS = (b"binary", b"8bit", b"7bit")
FORM = "multipart/form-data"


class BoundedForm(MultiPartParser):
    """Starlette's parser of forms without its leniency: UTF-8, each text once, no part without its end.

    Part headers are bounded by python-multipart: 8 of 4 KiB.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request.headers, request.stream(), max_files=MAX_FILES, max_fields=MAX_TEXT_FIELDS)
        self._texts: set[str] = set()
        self._complete = False

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        for name, value in self._current_part.item_headers:
            if name == b"content-transfer-encoding" and value.strip().lower() not in PLAIN_ENCODINGS:
                raise MultiPartException("The form has a part with a Content-Transfer-Encoding; send it as it is.")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) + end - start > MAX_TEXT_BYTES:
            raise HTTPException(413, f"A text field of the form is larger than {MAX_TEXT_BYTES} bytes.")
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:
            self._check_text(part.field_name, bytes(part.data))
        super().on_part_end()

    def on_end(self) -> None:
        self._complete = True

    async def parse(self) -> FormData:
        """Read the whole form.

        Raises:
            HTTPException: 400 where it is malformed, 413 where a text field is too large, 507 where the disk is full.
        """
        if "charset=" in self.headers["content-type"].lower().replace("charset=utf-8", ""):
            raise HTTPException(400, "The form is not in UTF-8; expected no other charset.")
        try:
            form = await super().parse()
        except MultiPartException as error:
            raise HTTPException(400, error.message) from error
        except OSError as error:  # files above 1 MB wait in the folder for temporary files
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise HTTPException(507, "There is no space left for the files of the form.") from error
        if not self._complete:
            await form.close()
            raise HTTPException(400, "The form ends before its final boundary; send all of it.")
        return form

    def _check_text(self, name: str, text: bytes) -> None:
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise MultiPartException("A text field of the form is not UTF-8.") from error
        if name in self._texts:
            raise MultiPartException("A text field of the form comes twice; expected it once.")
        self._texts.add(name)


class StrictRequest(Request):
    """One request whose body is read by our rules.

    Args:
        fields: the names that its form may have.
    """

    def __init__(self, scope: Scope, receive: Receive, fields: Collection[str]) -> None:
        super().__init__(scope, receive)
        self._fields = fields

    async def body(self) -> bytes:
        """A JSON text of bounded size, or nothing."""
        if not hasattr(self, "_body"):
            pieces = bytearray()
            async for piece in self.stream():
                pieces += piece
                if len(pieces) > MAX_JSON_BYTES:
                    raise HTTPException(413, f"The JSON is larger than {MAX_JSON_BYTES} bytes.")
            if pieces and _media_type(self) != "application/json":
                raise HTTPException(415, "The body is not JSON by its Content-Type; expected `application/json`.")
            self._body = bytes(pieces)
        return self._body

    async def json(self) -> dict[str, object]:
        """The JSON object; errors as HTTPException, for FastAPI would hide any other."""
        try:
            return strict_json.parse(await self.body())
        except InvalidRequest as error:
            raise HTTPException(400, error.message) from error

    async def _get_form(self, **_: Any) -> FormData:
        """What `form` gives, which FastAPI closes."""
        if self._form is None:
            if _media_type(self) != FORM:
                raise HTTPException(415, f"The body is no form by its Content-Type; expected `{FORM}`.")
            form = await BoundedForm(self).parse()
            if any(name not in self._fields for name in form):
                await form.close()
                raise HTTPException(400, f"The form has an unknown field; known are {', '.join(sorted(self._fields))}.")
            self._form = form
        return self._form


class StrictRoute(APIRoute):
    """A route whose body is read by `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, around a request that reads its body strictly."""
        handle = super().get_route_handler()
        fields = frozenset(_fields(self.dependant))

        async def strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive, fields))

        return strictly


def _fields(dependant: Dependant) -> Iterator[str]:
    """The names of all form fields that a route takes, its dependencies' too."""
    yield from (field.alias for field in dependant.body_params)
    for inner in dependant.dependencies:
        yield from _fields(inner)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
