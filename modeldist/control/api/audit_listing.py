"""/audit: who did what."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request

from modeldist.control.api.authentication import needs_admin, standing_of
from modeldist.control.api.pages import DEFAULT_LIMIT, Cursor, Limit, split
from modeldist.control.audit_trail import AuditRecord
from modeldist.control.views.audit import AuditPage, AuditRecordView

router = APIRouter(tags=["audit"])


@router.get("/audit", dependencies=[needs_admin], summary="Who did what, newest first")
async def list_audit(request: Request, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> AuditPage:
    """Requests that may change something, sessions, refusals, of all replicas: of each kind the newest `most`, as long
    as they are younger than `age`. The log `modeldist.audit` has all."""
    trail = standing_of(request).audit
    page, last = split(await trail.page(cursor, limit + 1), limit)
    return AuditPage(
        [_view(record) for record in page], await trail.oldest(), trail.most, trail.age, last.id if last else None
    )


def _view(record: AuditRecord) -> AuditRecordView:
    said = asdict(record)
    del said["kind"]
    return AuditRecordView(**said)
