"""Readings over the local API: one answer that goes on as long as somebody reads it, and wishes beside it."""

from __future__ import annotations

from contextlib import aclosing, suppress

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from modeldist.agent.engine import Engine
from modeldist.agent.leaving import Leaving
from modeldist.agent.local_bodies import body
from modeldist.agent.local_records import StartRequest
from modeldist.agent.pulls import Pulls
from modeldist.agent.reading import Reading
from modeldist.agent.reading_news import WishRequest
from modeldist.agent.while_heard import while_heard
from modeldist.agent.wishes import Wish
from modeldist.errors import NotFound


def reading_routes(engine: Engine, pulls: Pulls, leaving: Leaving) -> APIRouter:
    """POST /v1/readings and PUT /v1/readings/{reading}/wishes."""
    router = APIRouter()
    open_: dict[str, Reading] = {}

    @router.post("/v1/readings")
    async def begin(request: Request) -> Response:
        asked = await body(request, StartRequest)
        return _Telling(Reading(engine, pulls, asked.reference, offline=asked.offline), open_, leaving)

    @router.put("/v1/readings/{reading}/wishes")
    async def wish(reading: str, request: Request) -> Response:
        asked = await body(request, WishRequest)
        if (found := open_.get(reading)) is None:
            raise NotFound(f"Nobody reads {reading!r} here (any more).", remedy="Open the model again.")
        found.want([Wish(*wanted) for wanted in asked.wishes])
        return Response(status_code=204)

    return router


class _Telling(Response):
    """News, one a line, until the last, or until the reader has gone, which ends the reading."""

    def __init__(self, reading: Reading, open_: dict[str, Reading], leaving: Leaving) -> None:
        super().__init__(media_type="application/x-ndjson")
        del self.headers["Content-Length"]
        self._reading = reading
        self._open = open_
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_heard(self._tell(send), receive)

    async def _tell(self, send: Send) -> None:
        self._open[self._reading.id] = self._reading
        try:
            with self._leaving.telling(self._reading.leave):
                await self._news(send)
        finally:
            del self._open[self._reading.id]

    async def _news(self, send: Send) -> None:
        async with aclosing(self._reading.news()) as news:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for now in news:
                line = msgspec.json.encode(now) + b"\n"
                await send({"type": "http.response.body", "body": line, "more_body": True})
            with suppress(ConnectionError):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
