"""Where Prometheus reads an agent's metrics: an address of their own, which answers nobody without its token."""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from modeldist.agent.metrics.collector import AgentMetrics

PATH = "/metrics"


class MetricsEndpoint:
    """An ASGI application. `token`: what a scrape gives as `Authorization: Bearer …`."""

    def __init__(self, metrics: AgentMetrics, token: str) -> None:
        self._metrics = metrics
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            return PlainTextResponse(
                "This needs the token of --metrics-token-file, as `Authorization: Bearer …`.\n",
                401,
                {"WWW-Authenticate": "Bearer"},
            )
        if request.url.path != PATH:
            return PlainTextResponse(f"There is {PATH}, and no more.\n", 404)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("Metrics are read by GET.\n", 405, {"Allow": "GET, HEAD"})
        body, content_type = await self._metrics.text(request.headers.get("accept", ""))
        return Response(body, media_type=content_type)
