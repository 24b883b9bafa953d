"""/metrics, at the root, where Prometheus looks for it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from modeldist.control.api.authentication import Plane, needs_read
from modeldist.control.metrics.collector import sessions_now, tasks_now
from modeldist.control.metrics.requests import RequestCounts
from modeldist.metrics import exposition

router = APIRouter(include_in_schema=False)


@router.get("/metrics", dependencies=[needs_read])
async def metrics(request: Request, plane: Plane) -> Response:
    """In the text format that the request's Accept asks for."""
    counts: RequestCounts = request.app.state.requests
    tasks = await tasks_now(plane)
    body, content_type = exposition(
        [*sessions_now(plane), *tasks, *counts.samples()], request.headers.get("accept", "")
    )
    return Response(body, media_type=content_type)
