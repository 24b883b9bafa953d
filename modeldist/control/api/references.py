"""POST /resolve: what a reference means now."""

from __future__ import annotations

from fastapi import APIRouter, Request

from modeldist.control.api.audit import acts_on
from modeldist.control.api.authentication import Holder, Plane, needs_agent
from modeldist.control.api.description import answers
from modeldist.control.api.requests import ResolveRequest
from modeldist.control.views import ArtifactView, FileView

router = APIRouter(tags=["references"])


@router.post(
    "/resolve",
    dependencies=[needs_agent],
    summary="What a reference means now",
    responses=answers(404, 424, 429),
)
async def resolve(asked: ResolveRequest, plane: Plane, holder: Holder, request: Request) -> ArtifactView:
    """Asks the origin (one HEAD when the reference was resolved before). Concurrent askers share one request."""
    acts_on(request, asked.reference)
    artifact = await plane.core.resolve(asked.reference, holder=holder)
    return ArtifactView(
        digest=artifact.digest,
        reference=artifact.reference,
        repo_id=artifact.repo_id,
        revision=artifact.revision,
        origin=artifact.origin,
        size=artifact.needed,
        files=[FileView(file.path, file.digest, file.size, file.kind) for file in artifact.files],
        warnings=list(artifact.warnings),
    )
