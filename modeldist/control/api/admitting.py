"""A request is answered while there is room for it, and for its body."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modeldist.control.admission.rooms import Rooms
from modeldist.control.api.authentication import standing_of
from modeldist.control.api.problems import problem_response
from modeldist.errors import Overloaded
from modeldist.scheduler.messages import Priority

SMALL = 16 << 10  # bytes of a body that is not counted
PARSED = 4  # bytes in memory for each of a body, at most, while it is read and checked
_STREAM = b"text/event-stream"


def hold(connection: HTTPConnection, size: int) -> None:
    """So many bytes are needed until the request is answered. Raises Overloaded."""
    take: Callable[[int], None] = connection.scope["state"]["hold"]
    take(size)


class Admits:
    """ASGI middleware behind the check of tokens. A stream of events has a room of its own, so a request that becomes
    one makes room for others. `body_limit`: bytes that a body without a length may have."""

    def __init__(self, app: ASGIApp, body_limit: int) -> None:
        self._app = app
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = scope.get("state", {}).get("token")
        if scope["type"] != "http" or token is None:
            await self._app(scope, receive, send)
            return
        if (plane := standing_of(HTTPConnection(scope)).plane) is None:  # there is no room of one that stands by
            await self._app(scope, receive, send)
            return
        rooms = plane.rooms
        with ExitStack() as held:
            try:
                self._let_in(held, rooms, token.id, scope)
            except Overloaded as error:
                await problem_response(error)(scope, receive, send)
                return
            scope["state"]["hold"] = partial(self._hold, held, rooms, token.id)

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start" and _streams(message):
                    held.close()
                await send(message)

            await self._app(scope, receive, noting)

    def _let_in(self, held: ExitStack, rooms: Rooms, holder: str, scope: Scope) -> None:
        """Raises Overloaded."""
        held.enter_context(rooms.place(rooms.requests, holder, Priority.SERVING))
        size = min(self._announced(scope), self._body_limit) * PARSED
        if size > SMALL * PARSED:
            self._hold(held, rooms, holder, size)

    @staticmethod
    def _hold(held: ExitStack, rooms: Rooms, holder: str, size: int) -> None:
        rooms.take(rooms.held, holder, Priority.SERVING, size)
        held.callback(rooms.free, rooms.held, holder, size)

    def _announced(self, scope: Scope) -> int:
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers:
            return self._body_limit
        announced = headers.get("content-length", "0")
        return int(announced[:20]) if announced.isdecimal() else 0


def _streams(message: Message) -> bool:
    return any(name == b"content-type" and kind.startswith(_STREAM) for name, kind in message.get("headers", ()))
