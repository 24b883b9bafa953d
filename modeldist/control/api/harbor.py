"""What Harbor asks of its Dragonfly provider, at the paths where it asks: health, a preheat, how far it is. Its driver
is for Dragonfly 2 (`/healthy`, `/oapi/v1/jobs`), that of older releases for Dragonfly 1 (`/_ping`, `/preheats`)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import PlainTextResponse

from modeldist.control.api.audit import acts_on
from modeldist.control.api.authentication import Holder, Plane, needs_admin, needs_read
from modeldist.control.api.description import answers
from modeldist.control.api.pulls import PullId
from modeldist.control.harbor.job import JobView, job_view
from modeldist.control.harbor.older import PreheatCreated, PreheatRequest, PreheatView, preheat_view
from modeldist.control.harbor.request import JobRequest
from modeldist.control.plane import ControlPlane
from modeldist.control.pulls.pull import Pull
from modeldist.control.resolver import check_reference
from modeldist.errors import ModeldistError, Overloaded, Unsupported
from modeldist.scheduler.messages import Priority

router = APIRouter(tags=["harbor"])

LARGEST = (1 << 31) - 1
PATIENCE = 5.0  # seconds for the registry to say what an image is; Harbor waits for the answer
AS_IT_IS = "oci://"


@router.get(
    "/healthy",
    dependencies=[needs_admin],
    summary="Whether Harbor may ask here",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": "ok\n"}}}},
)
async def healthy() -> PlainTextResponse:
    """Wants the token that jobs want, so that Harbor's connection test tells whether it is right."""
    return PlainTextResponse("ok\n")


@router.post(
    "/oapi/v1/jobs",
    dependencies=[needs_admin],
    summary="Preheat an image (Harbor)",
    responses=answers(404, 409, 429),
)
async def create_job(asked: JobRequest, plane: Plane, holder: Holder, request: Request) -> JobView:
    """A prefetch of the model that the manifest's URL names, or of a container image as it is: onto any one node
    (`single_peer`, `single_seed_peer`), all nodes (`all_peers`) or those with the label `seed=true`
    (`all_seed_peers`)."""
    acts_on(request, asked.reference())
    pull, _ = await plane.book.create(
        await _meant(plane, check_reference(asked.reference()), holder),
        asked.selector(),
        Priority.PREFETCH,
        deadline=asked.deadline(plane.book.now()),
        holder=holder,
    )
    number = await plane.jobs.add(pull.id, asked.args.url)
    return _view(plane, number, asked.args.url, pull)


@router.get(
    "/oapi/v1/jobs/{job}",
    dependencies=[needs_read],
    summary="How far a preheat is (Harbor)",
    responses=answers(404),
)
async def get_job(job: Annotated[int, Path(ge=1, le=LARGEST, examples=[1])], plane: Plane) -> JobView:
    known = await plane.jobs.get(job)
    return _view(plane, job, known.url, await plane.book.get(known.pull))


@router.get(
    "/_ping",
    dependencies=[needs_admin],
    summary="Whether an older Harbor may ask here",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": "ok\n"}}}},
)
async def ping() -> PlainTextResponse:
    """As `/healthy`."""
    return PlainTextResponse("ok\n")


@router.post(
    "/preheats",
    dependencies=[needs_admin],
    summary="Preheat an image (older Harbor)",
    responses=answers(404, 409, 429)
    | {
        200: {"links": {"get_preheat": {"operationId": "get_preheat", "parameters": {"preheat": "$response.body#/ID"}}}}
    },
)
async def create_preheat(asked: PreheatRequest, plane: Plane, holder: Holder, request: Request) -> PreheatCreated:
    """As a job; named by its pull."""
    acts_on(request, asked.reference())
    reference = await _meant(plane, check_reference(asked.reference()), holder)
    pull, _ = await plane.book.create(reference, asked.selector(), Priority.PREFETCH, holder=holder)
    return PreheatCreated(pull.id)


@router.get(
    "/preheats/{preheat}",
    dependencies=[needs_read],
    summary="How far a preheat is (older Harbor)",
    responses=answers(404),
)
async def get_preheat(preheat: PullId, plane: Plane) -> PreheatView:
    names = {node: session.hello.name for node, session in plane.core.sessions.items()}
    return preheat_view(await plane.book.get(preheat), names)


async def _meant(plane: ControlPlane, reference: str, holder: str) -> str:
    """Harbor preheats any image. A container image is put on nodes as it is, for their mirrors, where runtimes get it:
    also one that carries a model below /models, since that is run like others. Where the registry does not say what
    it is, the pull will tell why."""
    with suppress(ModeldistError, TimeoutError):
        try:
            async with asyncio.timeout(PATIENCE):
                artifact = await plane.core.resolve(reference, holder=holder, priority=Priority.PREFETCH)
        except Overloaded:
            raise
        except Unsupported:
            return check_reference(AS_IT_IS + reference)
        if artifact.files and all(file.subtree for file in artifact.files):
            return check_reference(AS_IT_IS + reference)
    return reference


def _view(plane: ControlPlane, number: int, url: str, pull: Pull) -> JobView:
    return job_view(number, url, pull, {node: session.hello for node, session in plane.core.sessions.items()})
