"""Who did what: one record for each request that may change something, for each session, and for each refusal.

The records go to the log `modeldist.audit`, one line an event, whatever `--log-level` says, as JSON with `--log-json`.
The database keeps the newest for `GET /audit`, too. They have names of tokens, never tokens, and what was asked for,
never bodies.
"""

from __future__ import annotations

import logging

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modeldist.control.audit_trail import AuditTrail
from modeldist.control.logs import AUDIT
from modeldist.control.standing import Standing
from modeldist.tracing.redaction import shown

log = logging.getLogger(AUDIT)

_ADDRESS = 64  # characters; one of IPv6 has 39, and the name of an interface
LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})


def acts_on(connection: HTTPConnection, thing: str, of: str = "") -> None:
    """Name in the record what this request is about: a reference, or an id. `of`: the pull or rollout it made."""
    named = shown(thing)
    connection.scope.setdefault("state", {})["acts_on"] = f"{of} {named}" if of else named


class SessionRecord:
    """The record of a session that was opened: made once, when its node is known, or when it ends before that. Names
    are no references, so nothing is taken out of them."""

    def __init__(self, connection: HTTPConnection) -> None:
        connection.scope["state"]["recorded_later"] = True
        self._connection: HTTPConnection | None = connection

    def of(self, node: str) -> None:
        """`node`: empty where nobody greeted."""
        if (connection := self._connection) is not None:
            self._connection = None  # a session lasts for days
            connection.scope["state"]["acts_on"] = node
            _record(connection.scope, 101)


class Audit:
    """ASGI middleware between the check of tokens and the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or "token" not in scope.get("state", {}):
            await self._app(scope, receive, send)
            return
        outcome = 500  # of whoever answers nothing

        async def noting(message: Message) -> None:
            nonlocal outcome
            match message["type"]:
                case "http.response.start" | "websocket.http.response.start":
                    outcome = message["status"]
                case "websocket.accept":
                    outcome = 101
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            later = outcome == 101 and scope["state"].get("recorded_later", False)
            if not later and (outcome in (401, 403) or scope.get("method", "") not in LOOKS):
                _record(scope, outcome)


def _record(scope: Scope, outcome: int) -> None:
    state, token = scope["state"], scope["state"]["token"]
    action = getattr(scope.get("endpoint"), "__name__", "nothing")  # as the OpenAPI document has it
    acted_on = state.get("acts_on", "")
    log.info(
        "audit",
        extra={
            "token": token.name,
            "token_id": token.id,
            "role": token.scope,
            "action": action,
            "asked": _asked(scope),
            "object": acted_on,
            "outcome": outcome,
            "client": client_of(scope),
        },
    )
    _trail(scope).keep(
        asked=_asked(scope),
        outcome=outcome,
        client=client_of(scope),
        token=token.name,
        role=token.scope,
        action=action,
        acted_on=acted_on,
    )


def refused(scope: Scope) -> None:
    """Somebody without a good token was sent away."""
    log.warning("audit", extra={"asked": _asked(scope), "outcome": 401, "client": client_of(scope)})
    _trail(scope).keep(asked=_asked(scope), outcome=401, client=client_of(scope))


def _trail(scope: Scope) -> AuditTrail:
    standing: Standing = scope["app"].state.standing
    return standing.audit


def _asked(scope: Scope) -> str:
    return f"{scope.get('method', 'WEBSOCKET')} {scope['path'][:200]}"


def client_of(scope: Scope) -> str:
    """Its address; "?" where there is none, as behind a unix socket. Short, whatever a careless proxy lets through."""
    return str((scope.get("client") or ("?",))[0])[:_ADDRESS]
