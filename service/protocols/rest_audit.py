"""Our REST, the audit log: GET /api/v1/audit. LINE B, beside it."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from contract.keys import AuditEntry
from service.protocols.rest_answers import json_response
from service.protocols.rest_parameters import CoreDependency, documented

ENTRY = {
    "sequence": 7,
    "at": "2026-11-23T19:00:00Z",
    "actor": "shop/0b9c5f1d7c6f",
    "action": "version_promoted",
    "subject": "default/3",
    "detail": "checked by hand",
    "previous_digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "digest": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
}
router = APIRouter(tags=["operations"])


@dataclass(frozen=True)
class AuditAnswer:
    """One page of the log, newest first; `next` asks for the page after it as `before`."""

    entries: tuple[AuditEntry, ...]
    next: int | None


@router.get(
    "/audit",
    summary="Who did what",
    response_model=AuditAnswer,
    responses=documented(503, example={"entries": [ENTRY], "next": None}),
)
def list_audit(
    core: CoreDependency,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**62, description="`next` of the page before.")] = None,
) -> Response:
    """Keys, promotions, rollbacks, pins and deletions, newest first. Each line holds the digest of the one before.

    `ripen audit` says whether the log is whole.
    """
    entries = tuple(core.learning.audit(limit=limit, before=before))
    return json_response(AuditAnswer(entries, entries[-1].sequence if len(entries) == limit else None))
