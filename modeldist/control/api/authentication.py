"""Who may ask what. Nothing answers without a token unless it is named here."""

from __future__ import annotations

import logging
import time
from typing import Annotated

from fastapi import Depends
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from modeldist.control.api import audit
from modeldist.control.api.console import CONSOLE_PATHS, way_in
from modeldist.control.api.failed_logins import FailedLogins
from modeldist.control.api.problems import problem_response
from modeldist.control.plane import ControlPlane
from modeldist.control.standing import ASK_AGAIN, Standing
from modeldist.control.store import tokens
from modeldist.control.store.tokens import Token
from modeldist.errors import ControlPlaneRefused, NotLeading, StorageError

PROBES = frozenset({"/healthz", "/readyz"})
OPEN_PATHS = PROBES | CONSOLE_PATHS  # they carry no data
METRICS = "/metrics"
WITHOUT_LEADING = OPEN_PATHS | {METRICS}  # replicas that stand by answer these, too


def standing_of(connection: HTTPConnection) -> Standing:
    standing: Standing = connection.app.state.standing
    return standing


def plane_of(connection: HTTPConnection) -> ControlPlane:
    """Raises NotLeading when this replica stopped leading since the request came."""
    standing = standing_of(connection)
    if (plane := standing.plane) is None:
        raise standing.refusal()
    return plane


async def _plane(connection: HTTPConnection) -> ControlPlane:
    return plane_of(connection)  # a coroutine, because FastAPI gives plain functions a thread each time


Plane = Annotated[ControlPlane, Depends(_plane)]


async def _holder(connection: HTTPConnection) -> str:
    token: Token = connection.scope["state"]["token"]
    return token.id


Holder = Annotated[str, Depends(_holder)]
"""Whose share of the rooms is used: a token's id."""


log = logging.getLogger(__name__)


class RequiresToken:
    """ASGI middleware in front of every route, known or not: a request without a valid bearer token ends here."""

    def __init__(self, app: ASGIApp, failed_logins: FailedLogins) -> None:
        self._app = app
        self._failed = failed_logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        if (elsewhere := way_in(scope)) is not None:
            await elsewhere(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
        token = None
        if scheme.lower() == "bearer":
            try:
                token = await standing_of(connection).tokens.verify(credentials.strip())
            except (SQLAlchemyError, OSError, NotLeading) as error:
                log.error("cannot ask the database about a token: %s", error)
                await answer_with(problem_response(_away()), scope, receive, send)
                return
        if token is None:
            await self._refuse(scope, receive, send)
            return
        scope.setdefault("state", {})["token"] = token
        await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Beyond what an address may fail, its failures are told to wait, and no longer logged one by one."""
        wait = self._failed.note(audit.client_of(scope), time.monotonic())
        if wait is None:
            audit.refused(scope)
        error = ControlPlaneRefused(
            "This needs a bearer token that the control plane knows.",
            remedy="Send `Authorization: Bearer …` (`modeldist`: --token-file, MODELDIST_TOKEN) with a token of the "
            "control plane's state directory, or of `modeldist token create`.",
            retry_after=wait,
        )
        response = problem_response(error, 401 if wait is None else 429)
        if scope["type"] == "websocket" and wait is None:
            log.warning("refused an agent at %s: it has no valid token", audit.client_of(scope))
        await answer_with(response, scope, receive, send)


async def answer_with(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or the handshake of a WebSocket."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


def _away() -> StorageError:
    return StorageError(
        "The control plane's database does not answer, so nobody can be let in.",
        remedy="Ask again in a moment; the control plane's log says more.",
        retry_after=ASK_AGAIN,
    )


class Needs:
    """A dependency: the token's scope must be one of these."""

    def __init__(self, *scopes: tokens.Scope) -> None:
        self.scopes = scopes

    async def __call__(self, connection: HTTPConnection) -> Token:
        token: Token = connection.scope["state"]["token"]
        if token.scope not in self.scopes:
            raise ControlPlaneRefused(
                f"The token {token.name!r} has the scope {token.scope}; this needs {' or '.join(self.scopes)}.",
                remedy="Use a token with that scope.",
            )
        return token


needs_admin = Depends(Needs("admin"))
needs_read = Depends(Needs("admin", "read"))
needs_agent = Depends(Needs("admin", "agent", "node"))
needs_any = Depends(Needs("admin", "agent", "node", "read"))
