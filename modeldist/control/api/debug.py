"""/debug/profile: where the control plane spends its time. For admins alone, and one at a time."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse

from modeldist.control.api.authentication import needs_admin
from modeldist.profiling import SECONDS
from modeldist.profiling.sampler import Profiler

router = APIRouter(include_in_schema=False)


@router.get("/debug/profile", dependencies=[needs_admin], response_class=PlainTextResponse)
async def profile(request: Request, seconds: Annotated[float, Query(allow_inf_nan=False)] = SECONDS) -> str:
    """Stacks of all threads and tasks, collapsed."""
    profiler: Profiler = request.app.state.profiler
    return await profiler.profile(seconds)
