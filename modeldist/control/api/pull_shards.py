"""/pulls/{id}/shards: the files of a pull's model, and how far the swarm is with each."""

from __future__ import annotations

from fastapi import APIRouter

from modeldist.artifact import ArtifactFile, Digest
from modeldist.control.api.authentication import Plane, needs_read
from modeldist.control.api.description import answers
from modeldist.control.api.pages import DEFAULT_LIMIT, Limit, Number, numbered
from modeldist.control.api.pulls import PullId
from modeldist.control.api.tasks import summary
from modeldist.control.plane import ControlPlane
from modeldist.control.store.shard_names import ShardName
from modeldist.control.views import ShardPage, ShardView

router = APIRouter(tags=["pulls"])


@router.get(
    "/pulls/{pull_id}/shards",
    dependencies=[needs_read],
    summary="A pull's files and their tasks",
    responses=answers(404),
)
async def list_shards(
    pull_id: PullId,
    plane: Plane,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Number = None,
) -> ShardPage:
    """In the order that the model has them. None before a node, or the control plane, resolved the reference."""
    pull = await plane.book.get(pull_id)
    artifact = await plane.artifacts.candidate(pull.reference, None)
    if artifact is None:
        return ShardPage(None, [])
    page, following = numbered(artifact.files, cursor, limit)  # an artifact does not change
    return ShardPage(
        artifact.digest, [_shard(plane, pull.reference, artifact.digest, file) for file in page], following
    )


def _shard(plane: ControlPlane, reference: str, model: Digest, file: ArtifactFile) -> ShardView:
    brief = plane.scheduler.brief(file.digest)
    task = summary(brief, ShardName(model, reference, file.path)) if brief is not None else None
    return ShardView(file.path, file.digest, file.size, task)
