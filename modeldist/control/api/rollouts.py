"""/rollouts: put a release of this program onto nodes, wave by wave; see how far it is; have it go back."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from modeldist.control.api.audit import acts_on
from modeldist.control.api.authentication import Holder, Plane, needs_admin, needs_read
from modeldist.control.api.description import accepted, answers
from modeldist.control.api.examples import ROLLOUT
from modeldist.control.api.pages import DEFAULT_LIMIT, NO_NUL, Cursor, Limit, split
from modeldist.control.api.requests import RolloutRequest
from modeldist.control.resolver import check_reference
from modeldist.control.rollouts.rollout import NodeUpdate, Rollout
from modeldist.control.views import ErrorView, NodeUpdateView, RolloutPage, RolloutSummary, RolloutView
from modeldist.errors import NotFound

router = APIRouter(tags=["rollouts"])

RolloutId = Annotated[str, Path(max_length=64, pattern=NO_NUL, examples=[ROLLOUT])]


@router.post(
    "/rollouts",
    status_code=202,
    dependencies=[needs_admin],
    summary="Update nodes to a release",
    responses=answers(404, 409)
    | accepted("The rollout.", f"/api/v1/rollouts/{ROLLOUT}", "rollout_id", ("get_rollout", "abort_rollout")),
)
async def create_rollout(
    asked: RolloutRequest, plane: Plane, holder: Holder, request: Request, response: Response
) -> RolloutView:
    """The nodes are those that are connected now. The release is resolved once: all of them get the same. One rollout
    runs at a time."""
    acts_on(request, asked.release)
    if asked.control_plane and (refusal := plane.own.refusal()) is not None:
        raise refusal.as_error()
    release = await plane.core.resolve(check_reference(asked.release), holder=holder)
    await plane.book.all_back()
    nodes = await plane.book.meant(asked.selector())
    if not nodes and not asked.control_plane:
        raise NotFound(
            "No node is connected.",
            remedy="Start an agent; `modeldist status --server URL` shows those that are connected.",
        )
    rollout = await plane.rollouts.create(asked.plan(release.reference), nodes)
    acts_on(request, release.reference, of=rollout.id)
    response.headers["Location"] = f"/api/v1/rollouts/{rollout.id}"
    return _view(rollout)


@router.get("/rollouts", dependencies=[needs_read], summary="Rollouts, newest first")
async def list_rollouts(plane: Plane, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> RolloutPage:
    page, last = split(await plane.rollouts.listing(cursor, limit + 1), limit)
    return RolloutPage([RolloutSummary(**_summary(rollout)) for rollout in page], last.id if last else None)


@router.get(
    "/rollouts/{rollout_id}", dependencies=[needs_read], summary="One rollout, node by node", responses=answers(404)
)
async def get_rollout(rollout_id: RolloutId, plane: Plane) -> RolloutView:
    return _view(await plane.rollouts.get(rollout_id))


@router.delete("/rollouts/{rollout_id}", dependencies=[needs_admin], summary="Abort a rollout", responses=answers(404))
async def abort_rollout(rollout_id: RolloutId, plane: Plane, request: Request) -> RolloutView:
    """Nobody else is told, and nodes that were go back to what they ran before. Harmless when it ended already."""
    acts_on(request, rollout_id)
    return _view(await plane.rollouts.abort(rollout_id))


def _summary(rollout: Rollout) -> dict[str, Any]:
    plan = rollout.plan
    return {
        "id": rollout.id,
        "release": plan.release,
        "version": rollout.version,
        "state": rollout.state,
        "reason": rollout.reason,
        "wave": rollout.wave,
        "canary": plan.canary,
        "waves": list(plan.waves),
        "most_away": plan.most_away,
        "health": plan.health,
        "within": plan.within,
        "drain": plan.drain,
        "tolerate": plan.tolerate,
        "control_plane": plan.control_plane,
        "created_at": rollout.created_at,
        "finished_at": rollout.finished_at,
        "states": dict(Counter(one.state for one in rollout.nodes.values())),
    }


def _view(rollout: Rollout) -> RolloutView:
    return RolloutView(**_summary(rollout), nodes=[_node(one) for one in rollout.nodes.values()])


def _node(one: NodeUpdate) -> NodeUpdateView:
    error = one.error
    said = ErrorView.of(error) if error is not None else None
    return NodeUpdateView(one.node, one.state, one.step, one.before, one.version, one.since, said)
