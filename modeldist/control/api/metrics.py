"""/metrics, at the root, where Prometheus looks for it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from modeldist.control.api.authentication import METRICS, needs_read, standing_of
from modeldist.control.metrics.collector import sessions_now, standing_by, tasks_now
from modeldist.control.metrics.requests import RequestCounts
from modeldist.metrics import exposition

router = APIRouter(include_in_schema=False)


@router.get(METRICS, dependencies=[needs_read])
async def metrics(request: Request) -> Response:
    """In the text format that the request's Accept asks for. Of a replica that stands by, too: that it does."""
    counts: RequestCounts = request.app.state.requests
    plane = standing_of(request).plane
    looked_up = [*standing_by()] if plane is None else [*sessions_now(plane), *await tasks_now(plane)]
    body, content_type = exposition([*looked_up, *counts.samples()], request.headers.get("accept", ""))
    return Response(body, media_type=content_type)
