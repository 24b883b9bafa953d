"""/tasks: the swarm as phase 1 sees it now. Soft state: empty after a restart until agents have reconnected."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from modeldist.artifact import Digest
from modeldist.control.api.authentication import Plane, needs_read
from modeldist.control.api.description import answers
from modeldist.control.api.examples import NODE, SHARD
from modeldist.control.api.pages import DEFAULT_LIMIT, NO_NUL, Cursor, Limit, behind
from modeldist.control.api.swarm import By, Pictures, piece_map, swarm_view, where_of
from modeldist.control.plane import ControlPlane
from modeldist.control.store.shard_names import ShardName
from modeldist.control.views import (
    LeaseView,
    MemberView,
    PieceMapPage,
    SwarmView,
    TaskPage,
    TaskSummary,
    TaskView,
)
from modeldist.errors import NotFound
from modeldist.scheduler.phase1 import views as phase1
from modeldist.scheduler.pieces import PieceLayout

router = APIRouter(tags=["tasks"])

ShardDigest = Annotated[str, Path(max_length=80, pattern=NO_NUL, examples=[SHARD])]


@router.get("/tasks", dependencies=[needs_read], summary="Shard tasks")
async def list_tasks(plane: Plane, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> TaskPage:
    """In order of digest."""
    page, last = behind(sorted(plane.scheduler.tasks()), cursor, limit, str)
    names = await plane.artifacts.names_of(page)
    seen = [plane.scheduler.brief(digest) for digest in page]
    return TaskPage([summary(task, names.get(task.task)) for task in seen if task is not None], last)


@router.get("/tasks/{digest}", dependencies=[needs_read], summary="One shard task", responses=answers(404))
async def get_task(digest: ShardDigest, plane: Plane) -> TaskView:
    """Its nodes, who fetches from whom, and the origin leases."""
    names = await plane.artifacts.names_of([Digest(digest)])
    brief, task = plane.scheduler.brief(Digest(digest)), _task(plane, digest)
    assert brief is not None
    return TaskView(
        **vars(summary(brief, names.get(brief.task))),
        members=[_member(member) for member in sorted(task.members, key=lambda member: member.node)],
        active_leases=[_lease(lease) for lease in task.leases],
    )


@router.get("/tasks/{digest}/swarm", dependencies=[needs_read], summary="Who feeds whom", responses=answers(404))
async def get_swarm(
    digest: ShardDigest,
    plane: Plane,
    request: Request,
    by: Annotated[
        By | None,
        Query(description="What is taken together; left out: the finest with 60 places or fewer.", examples=["rack"]),
    ] = None,
) -> SwarmView:
    """The task as it can be drawn, with the rate of each edge; half a second old at most."""
    pictures: Pictures = request.app.state.pictures
    name = (await plane.artifacts.names_of([Digest(digest)])).get(Digest(digest))

    def draw() -> SwarmView:
        drawn = swarm_view(_task(plane, digest), by, where_of(plane.core.sessions), plane.scheduler.rate)
        return replace(drawn, **name._asdict()) if name else drawn

    return pictures.of(Digest(digest), by, draw)


@router.get("/tasks/{digest}/pieces", dependencies=[needs_read], summary="Who has which pieces", responses=answers(404))
async def get_pieces(
    digest: ShardDigest,
    plane: Plane,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    node: Annotated[
        str | None, Query(max_length=256, pattern=NO_NUL, description="Only this node.", examples=[NODE])
    ] = None,
) -> PieceMapPage:
    """A bitmap for each node, compressed. In order of node."""
    task = _task(plane, digest)
    members = {member.node: member for member in task.members if node is None or member.node == node}
    page, last = behind(sorted(members), cursor, limit, str)
    look_up = where_of(plane.core.sessions)
    leased: dict[str, list[tuple[int, int]]] = {}
    for lease in task.leases:
        leased.setdefault(lease.node, []).append((lease.start, lease.count))
    maps = [piece_map(members[name], look_up(name).name, leased.get(name, ())) for name in page]
    return PieceMapPage(task.task, task.pieces, maps, last)


def _task(plane: ControlPlane, digest: str) -> phase1.TaskView:
    """Raises NotFound."""
    task = plane.scheduler.task(Digest(digest), time.monotonic())
    if task is None:
        raise NotFound(
            f"There is no shard task {digest!r}.",
            remedy="See the list of tasks; one ends with its last node.",
        )
    return task


def summary(task: phase1.TaskBrief, name: ShardName | None) -> TaskSummary:
    held = PieceLayout(task.size, task.piece_size).bytes_of(task.held)
    return TaskSummary(
        digest=task.task,
        size=task.size,
        origin=task.origin,
        piece_size=task.piece_size,
        pieces=task.pieces,
        nodes=task.nodes,
        holders=task.holders,
        leases=task.leases,
        held=held,
        origin_bytes=task.origin_bytes,
        ratio=task.origin_bytes / held if held else None,
        **(name._asdict() if name else {}),
    )


def _member(member: phase1.MemberView) -> MemberView:
    return MemberView(
        member.node,
        member.complete,
        member.wants,
        member.bytes_here,
        member.bytes_origin,
        list(member.parents),
        member.children,
    )


def _lease(lease: phase1.LeaseView) -> LeaseView:
    return LeaseView(lease.lease, lease.node, lease.start, lease.count, len(lease.unread), lease.idle)
