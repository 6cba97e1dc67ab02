"""Our REST, many labelled images at once: POST /api/v1/examples:import. LINE B step 1.

While it is here, the archive lies in a file without a name in the data folder: it goes whatever becomes of the request
or the service.
"""

import asyncio
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contract.errors import InvalidRequest, Overloaded, StorageFull, StorageUnavailable
from service.protocols.core import IMPORTS, Core
from service.protocols.rest_answers import ErrorText, ImportAnswer, Refused, json_response
from service.protocols.rest_bodies import FORM, BoundedForm
from service.protocols.rest_parameters import CoreDependency, ModelName, Supplier, documented
from service.zip_import import ImportReport, ZipImport

ZIP = ("application/zip", "application/x-zip-compressed", "application/octet-stream")
PIECE_BYTES = 2**20  # per write: a thread for each 64 KiB of the network would cost more than the disk
RESERVE_SHARE, MOST_RESERVE_BYTES = 0.05, 2**30  # of the disk; an archive on its way must not take the last of it
BINARY = {"schema": {"type": "string", "format": "binary"}}
FORM_SCHEMA = {"schema": {"type": "object", "required": ["file"], "properties": {"file": BINARY["schema"]}}}
BODY = {"required": True, "content": {"application/zip": BINARY, FORM: FORM_SCHEMA}}
EXAMPLE = {"added": {"apple": 104, "orange": 96}, "duplicates": 2, "skipped": 1, "rejected": []}
router = APIRouter(tags=["examples"])


@router.post(
    "/examples:import",
    summary="Add a zip of labelled images",
    response_model=ImportAnswer,
    responses=documented(404, 409, 413, 422, 429, 503, 507, example=EXAMPLE),
    openapi_extra={"requestBody": BODY},
)
async def import_examples(
    request: Request,
    core: CoreDependency,
    model: ModelName,
    supplier: Supplier,
    partial: Annotated[bool, Query(description="Store what can be stored and list the rest.")] = False,
) -> Response:
    """A zip as the body, or as the one file of a form: `<class>/`, or `train/<class>/` and `validation/<class>/`.

    What is below `validation` (or `val`, `valid`, `test`) is kept for judging. Hidden files and those that are no JPEG,
    PNG or WebP by name are skipped. One image that cannot be used refuses the whole archive, unless `partial`.
    """
    with _place(core):
        await asyncio.to_thread(core.learning.declared, model)  # said before an archive is taken for nothing
        with await asyncio.to_thread(_new_file, core.settings.home) as file:
            await _receive(request, file)
            importing = ZipImport(core.learning, core.settings, lambda: core.readiness.stopping, supplier)
            report = await run_in_threadpool(importing.run, file, model, partial=partial)
    return json_response(_answer(report))


@contextmanager
def _place(core: Core) -> Iterator[None]:
    if not core.imports.acquire(blocking=False):
        raise Overloaded(f"{IMPORTS} archives are being imported already; come back when one is done.")
    try:
        yield
    finally:
        core.imports.release()


def _new_file(home: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=home)
    except OSError as error:
        raise _unwritable(error) from error


async def _receive(request: Request, file: IO[bytes]) -> None:
    """Write the archive to `file`, whatever way it comes."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        await _receive_form(request, file)
        return
    if kind not in ZIP:
        raise HTTPException(415, "The body is no zip by its Content-Type; expected `application/zip`, or a form.")
    pieces = bytearray()
    async for piece in request.stream():
        pieces += piece
        if len(pieces) >= PIECE_BYTES:
            await asyncio.to_thread(_write, file, bytes(pieces))
            pieces.clear()
    await asyncio.to_thread(_write, file, bytes(pieces))


async def _receive_form(request: Request, file: IO[bytes]) -> None:
    form = await _FormWithArchive(request, file).parse()
    fields = [(name, isinstance(value, UploadFile)) for name, value in form.multi_items()]
    if fields != [("file", True)]:
        raise InvalidRequest("The form has no file, or more than the archive; expected one `file` and nothing else.")


class _FormWithArchive(BoundedForm):
    """A form whose one file is written to a file of ours."""

    def __init__(self, request: Request, file: IO[bytes]) -> None:
        super().__init__(request)
        self.max_files = 1
        self._archive = file

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._current_part.file.file.close()  # starlette's own, elsewhere
            self._current_part.file = _Written(self._archive)


class _Written(UploadFile):
    """An upload that respects the disk's reserve."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file=file)  # type: ignore[arg-type]  # starlette asks for BinaryIO, a narrower name for the same

    async def write(self, data: bytes) -> None:
        """Write, or raise StorageFull before the disk is."""
        await asyncio.to_thread(_write, self.file, data)


def _write(file: IO[bytes], data: bytes) -> None:
    disk = os.fstatvfs(file.fileno())
    reserve = min(disk.f_frsize * disk.f_blocks * RESERVE_SHARE, MOST_RESERVE_BYTES)
    if disk.f_frsize * disk.f_bavail - len(data) < reserve:
        raise StorageFull("The disk of the data folder has no room for the archive; make room, then send it again.")
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        raise _unwritable(error) from error


def _unwritable(error: OSError) -> StorageFull | StorageUnavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("The disk of the data folder is full; make room, then send the archive again.")
    return StorageUnavailable(f"The data folder cannot be written ({error.strerror}); look at its disk.")


def _answer(report: ImportReport) -> ImportAnswer:
    rejected = tuple(Refused(one.name, ErrorText(one.code, one.message)) for one in report.rejected)
    return ImportAnswer(report.added, report.duplicates, report.skipped, rejected)
