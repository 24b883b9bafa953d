"""/audit: who did what, of late."""

from __future__ import annotations

from fastapi import APIRouter, Request

from modeldist.control.api.audit_trail import AuditTrail
from modeldist.control.api.authentication import needs_admin
from modeldist.control.api.pages import DEFAULT_LIMIT, Limit, Number, split
from modeldist.control.views import AuditPage

router = APIRouter(tags=["audit"])


@router.get("/audit", dependencies=[needs_admin], summary="Who did what, newest first")
async def list_audit(request: Request, limit: Limit = DEFAULT_LIMIT, cursor: Number = None) -> AuditPage:
    """Requests that may change something, sessions, refusals: of each kind the newest thousand of this process. The log
    `modeldist.audit` has all."""
    trail: AuditTrail = request.app.state.audit_trail
    page, last = split(trail.before(int(cursor) if cursor is not None else None, limit + 1), limit)
    return AuditPage(list(page), trail.since, str(last.number) if last else None)
