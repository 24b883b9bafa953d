"""No request body larger than the API can need."""

from __future__ import annotations

from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modeldist.control.api.problems import problem_response
from modeldist.errors import UsageError


class _TooLarge(Exception):
    pass


class BodyLimit:
    """ASGI middleware: 413 beyond `limit` bytes, announced or sent."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced[:20]) > self._limit:
            await self._refuse(scope, receive, send)
            return
        received = 0
        started = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise _TooLarge
            return message

        async def held(message: Message) -> None:
            nonlocal started
            if received > self._limit and not started:
                return  # what the framework makes of the broken body; ours follows
            started = True
            await send(message)

        with suppress(_TooLarge):
            await self._app(scope, counted, held)
        if received > self._limit and not started:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = UsageError(
            f"The request's body is larger than {self._limit} bytes.",
            remedy="Name fewer nodes, or select them by label.",
        )
        response = problem_response(error, 413)
        await response(scope, receive, send)
