"""The shell of the drop-in endpoints: one application on a loopback port of the agent."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modeldist.agent.engine import Engine
from modeldist.agent.pulls import Pulls
from modeldist.errors import UsageError
from modeldist.gateway.flights import Flights
from modeldist.gateway.hub import answers
from modeldist.gateway.hub.routes import HubEndpoint
from modeldist.gateway.oci import answers as oci_answers
from modeldist.gateway.oci.paths import is_for_a_registry
from modeldist.gateway.oci.routes import OciEndpoint
from modeldist.gateway.patience import kept_waiting
from modeldist.logger import Logger
from modeldist.origins.router import Origins
from modelpack.oci.addresses import host_of, is_loopback

log = Logger(__name__)


class Gateway:
    """An ASGI application; `close()` when it is no longer served. `address` is the host:port it is served at,
    `registries` those that are mirrored (none: the default one), `pulls` show what is fetched for it.

    Raises UsageError when it would ask itself for what it does not have, and for what is no registry.
    """

    def __init__(
        self, engine: Engine, pulls: Pulls, origins: Origins, address: str, registries: Collection[str] = ()
    ) -> None:
        upstream = urlsplit(origins.hub_door().endpoint)
        if is_loopback(upstream.hostname or "") and f":{upstream.port}" == f":{address.rpartition(':')[2]}":
            raise UsageError(
                f"The agent would read models from its own gateway at {upstream.geturl()}.",
                remedy="HF_ENDPOINT=<gateway> is for the programs that use the agent; give the agent the hub itself "
                "with --hf-endpoint.",
            )
        self._flights = Flights(engine, pulls)
        self._hub = HubEndpoint(engine, origins, self._flights, registries)
        self._oci = OciEndpoint(engine, origins, self._flights, registries)
        for registry in self._oci.registries:
            if is_loopback(host_of(registry)) and registry.endswith(f":{address.rpartition(':')[2]}"):
                raise UsageError(
                    f"The agent would mirror its own gateway at {registry}.",
                    remedy="Name registries alone with --mirror.",
                )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        # Clients of registries wait longer by themselves, and those in Go take few interim answers.
        waiting = nullcontext() if is_for_a_registry(request.url.path) else kept_waiting(scope)
        async with waiting:
            response = await self._answer(request)
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        for_a_registry = is_for_a_registry(request.url.path)
        refusal = oci_answers.refusal if for_a_registry else answers.refusal
        if not _asked_by_loopback_name(request.headers.get("host", "")):
            return refusal(421, "DENIED" if for_a_registry else "", "This port answers to localhost only.")
        if request.headers.get("sec-fetch-site") == "cross-site":  # they could not read it, but have it fetched
            return refusal(403, "DENIED" if for_a_registry else "", "This port answers to no pages of other sites.")
        try:
            return await (self._oci.answer(request) if for_a_registry else self._hub.answer(request))
        except ClientDisconnect:  # in the middle of its question
            return Response(None, 400)
        except Exception as error:  # a bug; the client must learn that it is not theirs
            log.exception("the gateway failed", path=request.url.path)
            message = f"The agent failed unexpectedly: {type(error).__name__}: {error}."
            return refusal(500, "UNKNOWN" if for_a_registry else "", message)

    async def close(self) -> None:
        await self._flights.close()
        await self._hub.close()
        await self._oci.close()


def _asked_by_loopback_name(host: str) -> bool:
    """Else a page in a browser on this machine could read from here under a name of its own (DNS rebinding)."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
