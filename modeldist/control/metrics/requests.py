"""How many requests were answered how, and how soon."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modeldist.control.metrics import names
from modeldist.metrics.histogram import Histogram
from modeldist.metrics.metric import Sample

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
NOWHERE = "none"  # the route of what none is for


class RequestCounts:
    """By route, so that their number does not grow with what is asked for."""

    def __init__(self) -> None:
        self._answered: Counter[tuple[str, str, str]] = Counter()
        self._seconds = Histogram(names.SECONDS, SECONDS)

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        self._answered[method, route, str(status)] += 1
        self._seconds.note(seconds, method, route)

    def samples(self) -> Iterator[Sample | Histogram]:
        for (method, route, status), count in sorted(self._answered.items()):
            yield names.REQUESTS.at(count, method, route, status)
        yield self._seconds


METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class CountsRequests:
    """ASGI middleware in front of all others. Sessions of agents are no requests. `prefix`: of the API's routes."""

    def __init__(
        self, app: ASGIApp, counts: RequestCounts, prefix: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._counts = counts
        self._prefix = prefix
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start" and not status:
                status = message["status"]
                self._note(scope, status, self._clock() - began)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except BaseException:
            if not status:
                self._note(scope, 500, self._clock() - began)
            raise

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._counts.note(method, self._route(scope), status, seconds)

    def _route(self, scope: Scope) -> str:
        """With the prefix of the router that it is in, which not every FastAPI has in it."""
        route = str(getattr(scope.get("route"), "path", NOWHERE))
        within = scope["path"].startswith(f"{self._prefix}/") and route.startswith("/")
        return self._prefix + route if within and not route.startswith(self._prefix) else route
