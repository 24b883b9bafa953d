"""Of the local API, how the agent is: for probes, and for who looks into it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from modeldist.agent.engine import Engine
from modeldist.agent.health import Health
from modeldist.errors import NotReady
from modeldist.profiling import SECONDS
from modeldist.profiling.sampler import Profiler


def looking_routes(engine: Engine) -> APIRouter:
    """/healthz fails where a restart would help, /readyz where a pull would not get far."""
    routes = APIRouter()
    health, profiler = Health(engine), Profiler()

    @routes.get("/healthz")
    async def healthz() -> PlainTextResponse:
        if said := health.broken():
            raise NotReady(said, remedy="Restart it.")
        return PlainTextResponse("ok\n")

    @routes.get("/readyz")
    async def readyz() -> PlainTextResponse:
        if said := await health.unready():
            raise NotReady(said, remedy="`modeldist status` and the agent's log say more.")
        return PlainTextResponse("ok\n")

    @routes.get("/v1/profile")
    async def profile(seconds: float = SECONDS) -> PlainTextResponse:
        return PlainTextResponse(await profiler.profile(seconds))

    return routes
