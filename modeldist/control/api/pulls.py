"""/pulls: put a reference on nodes, follow it, stop it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from modeldist.control.api.audit import acts_on
from modeldist.control.api.authentication import Holder, Plane, needs_admin, needs_read
from modeldist.control.api.description import accepted, answers
from modeldist.control.api.examples import KEY, PULL
from modeldist.control.api.node_by_node import document
from modeldist.control.api.pages import DEFAULT_LIMIT, NO_NUL, Cursor, Limit
from modeldist.control.api.pull_answer import pull_answer
from modeldist.control.api.pull_events import EVENT, EVENT_EXAMPLE, PullEvents
from modeldist.control.api.pull_why import why_answer
from modeldist.control.api.requests import PRIORITIES, PullRequest
from modeldist.control.pulls.pull import PullState
from modeldist.control.pulls.shown import summary
from modeldist.control.resolver import check_reference
from modeldist.control.views import PullPage, PullView, WebhookView, WhyView

router = APIRouter(tags=["pulls"])

PullId = Annotated[str, Path(max_length=64, pattern=NO_NUL, examples=[PULL])]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
        description="Repeating a request with the same key makes no second pull.",
        examples=[KEY],
    ),
]


@router.post(
    "/pulls",
    status_code=202,
    response_model=PullView,
    dependencies=[needs_admin],
    summary="Put a model on nodes",
    responses=answers(404, 409, 429)
    | accepted(
        "The pull.",
        f"/api/v1/pulls/{PULL}",
        "pull_id",
        ("get_pull", "pull_events", "why_pull", "get_webhook", "cancel_pull"),
        {
            "Idempotency-Replayed": {
                "schema": {"type": "string", "enum": ["true"]},
                "description": "The key was known: this is the pull that was made with it.",
                "example": "true",
            }
        },
    ),
)
async def create_pull(
    asked: PullRequest,
    plane: Plane,
    holder: Holder,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accepted at once; the nodes resolve the reference and report. Named nodes that are away pull when they are
    back. With "all", nodes that join while the pull runs take part."""
    acts_on(request, asked.reference)
    if asked.webhook is not None:
        plane.destinations.check(asked.webhook.url)
    pull, new = await plane.book.create(
        check_reference(asked.selected()),
        asked.selector(),
        PRIORITIES[asked.priority],
        idempotency_key,
        asked.deadline.timestamp() if asked.deadline else None,
        asked.webhook.checked() if asked.webhook else None,
        holder=holder,
    )
    acts_on(request, pull.reference, of=pull.id)
    headers = {"Location": f"/api/v1/pulls/{pull.id}"}
    if not new:
        headers["Idempotency-Replayed"] = "true"
    return pull_answer(request, pull, document(pull), 202, headers)


@router.get("/pulls", dependencies=[needs_read], summary="Pulls, newest first")
async def list_pulls(
    plane: Plane,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    state: Annotated[PullState | None, Query(description="Only these.", examples=["running"])] = None,
) -> PullPage:
    """Fewer than `limit` where they name very many nodes."""
    page, more = await plane.book.listing(cursor, limit, state)
    return PullPage([summary(brief) for brief in page], page[-1].id if more else None)


@router.get(
    "/pulls/{pull_id}",
    dependencies=[needs_read],
    summary="One pull, node by node",
    response_model=PullView,
    responses=answers(404),
)
async def get_pull(pull_id: PullId, plane: Plane, request: Request) -> Response:
    pull = await plane.book.get(pull_id)
    return pull_answer(request, pull, document(pull))


@router.get(
    "/pulls/{pull_id}/webhook",
    dependencies=[needs_read],
    summary="What became of a pull's webhook",
    responses=answers(404),
)
async def get_webhook(pull_id: PullId, plane: Plane) -> WebhookView:
    webhook = (await plane.book.get(pull_id)).webhook
    known = await plane.deliveries.get(pull_id)
    due = known.due if known.state == "waiting" else None
    url = webhook.url.partition("?")[0] if webhook else ""  # what follows may be a secret
    return WebhookView(url, known.state, known.attempts, due, known.error)


@router.get(
    "/pulls/{pull_id}/why",
    dependencies=[needs_read],
    summary="Why a pull is slow, stuck or failed",
    response_model=WhyView,
    responses=answers(404),
)
async def why_pull(pull_id: PullId, plane: Plane, request: Request) -> Response:
    """Node by node: what holds it up, what was measured, what to do. Of a pull that failed, for as long as it is kept:
    why, how far it had come, what to do. What held up one that is done is remembered of the newest, until the control
    plane restarts; its nodes know it too."""
    return why_answer(request, plane, await plane.book.get_explained(pull_id))


@router.delete(
    "/pulls/{pull_id}",
    dependencies=[needs_admin],
    summary="Cancel a pull",
    response_model=PullView,
    responses=answers(404),
)
async def cancel_pull(pull_id: PullId, plane: Plane, request: Request) -> Response:
    """Nodes keep what they have; a later pull goes on from there. Harmless when it ended already."""
    pull = await plane.book.cancel(pull_id)
    return pull_answer(request, pull, document(pull))


@router.get(
    "/pulls/{pull_id}/events",
    dependencies=[needs_read],
    summary="Follow a pull (Server-Sent Events)",
    status_code=200,
    response_class=PullEvents,
    responses=answers(404, 429)
    | {200: {"content": {"text/event-stream": {"schema": EVENT, "example": EVENT_EXAMPLE}}}},
)
async def pull_events(pull_id: PullId, plane: Plane, holder: Holder) -> PullEvents:
    """`snapshot` (a pull), then `node` (a node of it) for each change, then `end` (the pull)."""
    pull = await plane.book.get(pull_id)
    watching = plane.book.watch(pull_id, holder)
    return PullEvents(pull, watching.__enter__(), watching)
