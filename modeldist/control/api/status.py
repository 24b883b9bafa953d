"""/status, the API's description, and the two probes that need no token."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import PlainTextResponse

from modeldist import __version__
from modeldist.control.api.authentication import Needs, Plane, needs_any, needs_read, standing_of
from modeldist.control.store.tokens import Token
from modeldist.control.views import StatusView, TokenView
from modeldist.errors import NotLeading
from modeldist.session.messages import PROTOCOL

router = APIRouter(tags=["status"])
probes = APIRouter(include_in_schema=False)

READY_WITHIN = 3.0  # seconds; less than who asks waits
_FROM_A_TABLE = text("SELECT count(*) FROM meta")  # SQLite answers what is in no table without its file


@router.get("/status", dependencies=[needs_any], summary="Versions, counts, uptime")
async def status(plane: Plane) -> StatusView:
    return StatusView(
        version=__version__,
        protocol=PROTOCOL,
        cluster=plane.cluster,
        database=plane.database.engine.dialect.name,
        uptime=time.monotonic() - plane.started_at,
        agents=len(plane.core.sessions),
        pulls_running=plane.book.running,
        models=await plane.artifacts.count(),
        tasks=len(plane.scheduler.tasks()),
        piece_tls=plane.settings.piece_tls,
    )


@router.get("/token", summary="Whose token asks")
async def token(token: Annotated[Token, Depends(Needs("admin", "agent", "node", "read"))]) -> TokenView:
    """So that a program can offer what its token allows, and no more."""
    return TokenView(token.name, token.scope, token.expires_at)


@router.get("/openapi.json", dependencies=[needs_read], include_in_schema=False)
async def description(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = request.app.openapi()
    return document


@probes.get("/healthz", response_class=PlainTextResponse)
async def healthz(request: Request) -> PlainTextResponse:
    """The process answers, and nothing that it has to do by itself has ended: else only a restart helps."""
    if standing_of(request).broken:
        return PlainTextResponse("broken\n", 500)
    return PlainTextResponse("ok\n")


@probes.get("/readyz", response_class=PlainTextResponse)
async def readyz(request: Request) -> PlainTextResponse:
    """It leads, and the store answers too, soon."""
    standing = standing_of(request)
    if standing.broken:
        return PlainTextResponse("broken\n", 503)
    if (plane := standing.plane) is None:
        return PlainTextResponse("stands by\n", 503)
    try:
        async with asyncio.timeout(READY_WITHIN), plane.database.transaction() as session:
            await session.execute(_FROM_A_TABLE)
    except (SQLAlchemyError, OSError, NotLeading):  # TimeoutError is an OSError
        return PlainTextResponse("not ready\n", 503)
    return PlainTextResponse("ok\n")
