"""The shell of the drop-in endpoints: one application on a loopback port of the agent."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modeldist.agent.engine import Engine
from modeldist.errors import UsageError
from modeldist.gateway.flights import Flights
from modeldist.gateway.hub import answers
from modeldist.gateway.hub.routes import HubEndpoint
from modeldist.logger import Logger
from modeldist.origins.router import Origins
from modelpack.oci.addresses import is_loopback

log = Logger(__name__)


class Gateway:
    """An ASGI application; `close()` when it is no longer served. `address` is the host:port it is served at.

    Raises UsageError when it would ask itself for what it does not have.
    """

    def __init__(self, engine: Engine, origins: Origins, address: str) -> None:
        upstream = urlsplit(origins.hub_door().endpoint)
        if is_loopback(upstream.hostname or "") and f":{upstream.port}" == f":{address.rpartition(':')[2]}":
            raise UsageError(
                f"The agent would read models from its own gateway at {upstream.geturl()}.",
                remedy="HF_ENDPOINT=<gateway> is for the programs that use the agent; give the agent the hub itself "
                "with --hf-endpoint.",
            )
        self._flights = Flights(engine)
        self._hub = HubEndpoint(engine, origins, self._flights)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if not _asked_by_loopback_name(request.headers.get("host", "")):
            return answers.refusal(421, "", "This port answers to localhost only.")
        try:
            return await self._hub.answer(request)
        except Exception as error:  # a bug; the client must learn that it is not theirs
            log.exception("the gateway failed", path=request.url.path)
            return answers.refusal(500, "", f"The agent failed unexpectedly: {type(error).__name__}: {error}.")

    async def close(self) -> None:
        await self._flights.close()


def _asked_by_loopback_name(host: str) -> bool:
    """Else a page in a browser on this machine could read from here under a name of its own (DNS rebinding)."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
