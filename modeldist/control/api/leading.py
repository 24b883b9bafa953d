"""Only a replica that leads answers, but for what says how it is; the others say that they stand by, and who leads."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from modeldist.control.api.authentication import WITHOUT_LEADING, answer_with, standing_of
from modeldist.control.api.problems import problem_response


class OnlyTheLeader:
    """ASGI middleware behind the check of tokens: who leads is told to those who may ask."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in WITHOUT_LEADING):
            await self._app(scope, receive, send)
            return
        standing = standing_of(HTTPConnection(scope))
        if standing.plane is not None:
            await self._app(scope, receive, send)
            return
        await answer_with(problem_response(standing.refusal()), scope, receive, send)
