"""Requests that belong to a trace."""

from __future__ import annotations

from contextlib import ExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modeldist.logger import about
from modeldist.tracing.context import HEADER, current, trace_id_of, valid, within
from modeldist.tracing.spans import active, begin

_NAME = HEADER.encode()
_LOOKS = ("GET", "HEAD", "OPTIONS")
_BROKEN = 500  # and all above


class TracesRequests:
    """ASGI middleware. A request with a `traceparent` is answered within that span. Where traces are recorded, it is a
    span of its own, and so is one without that may change something. `known_only`: of requests whose token was
    checked, which is in the scope's state; nobody else makes spans."""

    def __init__(self, app: ASGIApp, known_only: bool = False) -> None:
        self._app = app
        self._known_only = known_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (self._known_only and "token" not in scope.get("state", {})):
            await self._app(scope, receive, send)
            return
        given = valid(next((value for name, value in scope["headers"] if name == _NAME), b"").decode("latin-1"))
        if not given and (not active() or scope["method"] in _LOOKS):
            await self._app(scope, receive, send)
            return
        span = begin("request", given, kind="server", method=str(scope["method"])[:20])

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "")
                span.say(status=int(message["status"]), route=str(route))
                if message["status"] >= _BROKEN:
                    span.failed(str(message["status"]))
            await send(message)

        try:
            with ExitStack() as stack:
                stack.enter_context(within(span.context))
                stack.enter_context(about(trace_id=trace_id_of(current())))
                await self._app(scope, receive, noting)
        finally:
            span.end()
