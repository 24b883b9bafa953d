"""The control plane as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from modeldist import __version__
from modeldist.control.api import (
    audit_listing,
    console,
    debug,
    enrolment,
    harbor,
    keeping,
    metrics,
    models,
    nodes,
    problems,
    pull_shards,
    pulls,
    racks,
    references,
    rollouts,
    session,
    status,
    tasks,
)
from modeldist.control.api.admitting import Admits
from modeldist.control.api.audit import Audit
from modeldist.control.api.authentication import RequiresToken
from modeldist.control.api.body_limit import BodyLimit
from modeldist.control.api.description import describe
from modeldist.control.api.failed_logins import FailedLogins
from modeldist.control.api.leading import OnlyTheLeader
from modeldist.control.api.swarm import Pictures
from modeldist.control.metrics.requests import CountsRequests, RequestCounts
from modeldist.control.plane import ControlPlane
from modeldist.control.ports import Resolves
from modeldist.control.replicas.replica import standing
from modeldist.control.settings import ServerSettings
from modeldist.control.standing import Alone, Standing
from modeldist.profiling.sampler import Profiler
from modeldist.tracing.asgi import TracesRequests

PREFIX = "/api/v1"


def create_app(settings: ServerSettings, *, origins: Resolves | None = None) -> FastAPI:
    """An application that opens its own control plane when it starts and closes it when it stops. On PostgreSQL it is
    one of the replicas."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with standing(settings, settings.address, origins=origins) as stands:
            app.state.standing = stands
            yield

    return _app(settings, lifespan)


def app_of(plane: ControlPlane) -> FastAPI:
    """An application in front of a control plane that runs already."""
    return app_for(plane.settings, Alone(plane))


def app_for(settings: ServerSettings, stands: Standing) -> FastAPI:
    """An application in front of one of several replicas, or of the only one."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield

    app = _app(settings, lifespan)
    app.state.standing = stands
    return app


def _app(settings: ServerSettings, lifespan: object) -> FastAPI:
    app = FastAPI(
        title="modeldist control plane",
        version=__version__,
        description="Puts AI models onto nodes: each origin byte read once, every byte verified.",
        lifespan=lifespan,  # type: ignore[arg-type]  # a decorated generator, which FastAPI's alias does not name
        openapi_url=None,  # served behind a token instead, see api/status.py
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.openapi = partial(describe, app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    problems.install(app)
    app.add_middleware(BodyLimit, limit=settings.body_limit)
    app.add_middleware(Admits, body_limit=settings.body_limit)
    app.add_middleware(Audit)
    app.add_middleware(OnlyTheLeader)
    app.add_middleware(TracesRequests, known_only=True)
    app.add_middleware(RequiresToken, failed_logins=FailedLogins(settings.failed_logins))  # comes before those
    app.state.pictures = Pictures()
    app.state.requests = RequestCounts()
    app.state.profiler = Profiler()
    app.add_middleware(CountsRequests, counts=app.state.requests, prefix=PREFIX)  # added last: comes first
    for room in (
        references,
        pulls,
        pull_shards,
        models,
        keeping,
        nodes,
        racks,
        tasks,
        rollouts,
        enrolment,
        audit_listing,
        status,
    ):
        app.include_router(room.router, prefix=PREFIX)
    app.include_router(debug.router, prefix=PREFIX)
    app.include_router(harbor.router)  # at the root: Harbor has the paths built in
    app.include_router(session.router)
    app.include_router(status.probes)
    app.include_router(metrics.router)
    app.include_router(console.router)
    return app
