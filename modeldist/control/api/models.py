"""/models: artifacts that were resolved here, and which nodes hold them."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Path

from modeldist.artifact import Digest
from modeldist.control.api.authentication import Plane, needs_read
from modeldist.control.api.description import answers
from modeldist.control.api.examples import MANIFEST
from modeldist.control.api.pages import DEFAULT_LIMIT, NO_NUL, Cursor, Limit, split
from modeldist.control.store.artifacts import KnownArtifact
from modeldist.control.views import HoldersView, ModelPage, ModelView
from modeldist.errors import NotFound

router = APIRouter(tags=["models"])

ArtifactDigest = Annotated[str, Path(max_length=80, pattern=NO_NUL, examples=[MANIFEST])]


@router.get("/models", dependencies=[needs_read], summary="Known models")
async def list_models(plane: Plane, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> ModelPage:
    """In order of digest."""
    page, last = split(await plane.artifacts.listing(cursor, limit + 1), limit)
    holders = Counter(digest for session in plane.core.sessions.values() for digest in session.artifacts)
    models = [_view(known, holders[known.digest]) for known in page]
    return ModelPage(models, last.digest if last else None)


@router.get("/models/{digest}", dependencies=[needs_read], summary="One model", responses=answers(404))
async def get_model(digest: ArtifactDigest, plane: Plane) -> ModelView:
    known = await plane.artifacts.row(Digest(digest))
    if known is None:
        raise _unknown(digest)
    return _view(known, sum(known.digest in session.artifacts for session in plane.core.sessions.values()))


@router.get("/models/{digest}/nodes", dependencies=[needs_read], summary="Where a model is", responses=answers(404))
async def where_is(digest: ArtifactDigest, plane: Plane) -> HoldersView:
    """Connected nodes that hold the whole model."""
    holders = sorted(node for node, session in plane.core.sessions.items() if digest in session.artifacts)
    if not holders and await plane.artifacts.get(Digest(digest)) is None:
        raise _unknown(digest)
    return HoldersView(digest, holders)


def _unknown(digest: str) -> NotFound:
    return NotFound(f"There is no model {digest!r}.", remedy="See the list of models.")


def _view(known: KnownArtifact, holders: int) -> ModelView:
    return ModelView(
        digest=known.digest,
        reference=known.reference,
        references=list(known.references),
        origin=known.origin,
        size=known.size,
        files=known.files,
        resolved_at=known.resolved_at,
        holders=holders,
    )
