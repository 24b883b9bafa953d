"""The agent's API for programs on the same machine: HTTP over a unix socket that only its owner can open (0600)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from modeldist import __version__
from modeldist.agent.engine import Engine
from modeldist.agent.leaving import Leaving
from modeldist.agent.local_bodies import body
from modeldist.agent.local_records import (
    AgentStatus,
    GcRequest,
    PlanRequest,
    RepairRequest,
    StartRequest,
    artifact_row,
)
from modeldist.agent.looking_routes import looking_routes
from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.agent.pull import Pull
from modeldist.agent.pulls import Pulls
from modeldist.agent.reading_routes import reading_routes
from modeldist.agent.repairing import begin_repair
from modeldist.agent.scrubbing import Scrub
from modeldist.agent.store import GcReport
from modeldist.errors import ModeldistError, NotFound, UsageError
from modeldist.tracing.asgi import TracesRequests
from modeldist.transfer.verbs import NodeRails
from modeldist.upgrade.versions import PLACE

EVENT_EVERY = 0.2  # seconds between snapshots of a running pull
HEARTBEAT = 5.0  # seconds after which a pull that stands still is told of again; readers give up after 30

STATUS = {
    "usage": 400,
    "invalid_reference": 400,
    "not_found": 404,
    "unauthorized": 401,
    "access_denied": 403,
    "rate_limited": 429,
    "origin_unavailable": 502,
    "origin_protocol": 502,
    "control_unreachable": 503,
    "control_refused": 503,
    "not_ready": 503,
    "overloaded": 503,
    "not_enough_space": 507,
    "unsupported": 415,
}


def create_local_app(
    engine: Engine,
    pulls: Pulls,
    rails: NodeRails | None = None,
    gateway: str = "",
    scrub: Scrub | None = None,
    leaving: Leaving | None = None,
) -> FastAPI:
    """Routes under /v1; bodies and answers are JSON of the structs above. `leaving`: what ends those that go on."""
    leaving = leaving or Leaving()
    app = FastAPI(title="modeldist agent", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)

    @app.exception_handler(ModeldistError)
    async def _failed(_: Request, error: ModeldistError) -> Response:
        return _json(error.info(), STATUS.get(error.code, 500))

    @app.post("/v1/pulls")
    async def start(request: Request) -> Response:
        asked = await body(request, StartRequest)
        pull = pulls.start(asked.reference, priority=asked.priority, offline=asked.offline)
        return _json(pull.snapshot(), 201)

    @app.get("/v1/pulls")
    async def every() -> Response:
        return _json([pull.snapshot() for pull in pulls.all()])

    @app.post("/v1/plans")
    async def plan(request: Request) -> Response:
        from modeldist.agent.parts import wanted_size
        from modeldist.origins.plans import plan_view

        asked = await body(request, PlanRequest)
        answer = await engine.session.resolve(asked.reference, None)
        if answer.artifact is None:
            raise NotFound(f"The control plane did not say what {asked.reference} is.")
        return _json(plan_view(asked.reference, answer.artifact, wanted_size(answer.artifact)))

    @app.get("/v1/pulls/find")
    async def find(text: str) -> Response:
        return _json(_known(pulls.find(text), text).snapshot())

    @app.get("/v1/pulls/{pull}")
    async def one(pull: str) -> Response:
        return _json(_known(pulls.get(pull), pull).snapshot())

    @app.get("/v1/pulls/{pull}/events")
    async def events(pull: str) -> Response:
        told = _events(pulls, _known(pulls.get(pull), pull), leaving)
        return StreamingResponse(told, media_type="application/x-ndjson")

    @app.delete("/v1/pulls/{pull}")
    async def cancel(pull: str) -> Response:
        found = _known(pulls.get(pull), pull)
        if found.snapshot().gateway:
            raise UsageError(
                f"{found.reference} is read by programs through the gateway; it is no pull.",
                remedy="Stop the program that reads it.",
            )
        pulls.cancel(found.id)
        return _json(found.snapshot(), 202)

    @app.get("/v1/artifacts")
    async def artifacts() -> Response:
        return _json([artifact_row(stored) for stored in await asyncio.to_thread(engine.store.artifacts)])

    @app.delete("/v1/artifacts")
    async def remove(reference: str) -> Response:
        removed = await asyncio.to_thread(engine.store.remove, pulls.canonical(reference))
        engine.forget_missing()
        return _json({"bytes_freed": removed.bytes_freed, "artifacts": list(removed.artifacts)})

    @app.put("/v1/pins")
    async def pin(reference: str) -> Response:
        await asyncio.to_thread(engine.store.pin, pulls.canonical(reference))
        return Response(status_code=204)

    @app.delete("/v1/pins")
    async def unpin(reference: str) -> Response:
        await asyncio.to_thread(engine.store.unpin, pulls.canonical(reference))
        return Response(status_code=204)

    @app.post("/v1/gc")
    async def collect(request: Request) -> Response:
        asked = await body(request, GcRequest)
        report: GcReport = await asyncio.to_thread(
            engine.store.gc, target_free=asked.target_free, max_age=asked.max_age, dry_run=asked.dry_run
        )
        engine.forget_missing()
        return _json(report)

    @app.post("/v1/repairs")
    async def repair(request: Request) -> Response:
        asked = await body(request, RepairRequest)
        engine.forget_missing()
        engine.announce()
        found = [await asyncio.to_thread(engine.store.artifact, digest) for digest in asked.artifacts]
        started = [begin_repair(engine, pulls, artifact) for artifact in found if artifact is not None]
        return _json([pull.snapshot() for pull in started], 201)

    app.include_router(reading_routes(engine, pulls, leaving))
    app.include_router(looking_routes(engine))
    app.add_middleware(TracesRequests)

    @app.get("/v1/status")
    async def status() -> Response:
        return _json(await asyncio.to_thread(_status, engine, pulls, rails, gateway, scrub))

    return app


def _status(engine: Engine, pulls: Pulls, rails: NodeRails | None, gateway: str, scrub: Scrub | None) -> AgentStatus:
    marks, fill = engine.store.watermarks, engine.store.fill()
    error = engine.session.last_error
    return AgentStatus(
        version=__version__,
        launched=PLACE in os.environ,
        node=engine.store.node_id,
        name=engine.config.name,
        store=str(engine.store.root),
        hub=str(engine.store.hub),
        address=engine.server.address if engine.server else "",
        connected=engine.session.connected,
        control_error="" if engine.session.connected or error is None else str(error),
        pulls_running=len(pulls.running()),
        artifacts=len(engine.store.artifacts()),
        bytes_sent=engine.server.load().bytes_sent if engine.server else 0,
        gateway=gateway,
        rdma=rails.summary() if rails else "",
        rdma_bytes=rails.detours.bytes if rails else 0,
        rdma_detours=rails.detours.reasons if rails else {},
        watermarks=str(marks) if marks else "",
        disk_used=fill.used,
        disk_capacity=fill.capacity,
        scrub=scrub.status() if scrub else None,
        uploads=engine.time.uploads,
        around=engine.around(),
    )


async def _events(pulls: Pulls, pull: Pull, leaving: Leaving) -> AsyncIterator[bytes]:
    """Without a final one where the agent stops."""
    last: PullSnapshot | None = None
    while not leaving.now:
        now = pull.snapshot()
        if last is None or now.state in FINAL or _news(last, now):
            yield msgspec.json.encode(now) + b"\n"
            last = now
        if now.state in FINAL:
            return
        await pulls.settled(pull, EVENT_EVERY)


def _news(last: PullSnapshot, now: PullSnapshot) -> bool:
    """Whether something happened, or so little that the reader may think we are gone."""
    happened = (now.done, now.state, now.notes) != (last.done, last.state, last.notes)
    return happened or now.seconds - last.seconds >= HEARTBEAT


def _known(pull: Pull | None, text: str) -> Pull:
    if pull is None:
        raise NotFound(f"This agent knows no pull {text!r}.", remedy="`modeldist status` lists its pulls.")
    return pull


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
