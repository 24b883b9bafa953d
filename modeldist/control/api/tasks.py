"""/tasks: the swarm as phase 1 sees it now. Soft state: empty after a restart until agents have reconnected."""

from __future__ import annotations

import time
from bisect import bisect_right
from typing import Annotated

from fastapi import APIRouter, Path

from modeldist.artifact import Digest
from modeldist.control.api.authentication import Plane, needs_read
from modeldist.control.api.description import answers
from modeldist.control.api.examples import SHARD
from modeldist.control.api.pages import DEFAULT_LIMIT, NO_NUL, Cursor, Limit, split
from modeldist.control.views import LeaseView, MemberView, TaskPage, TaskSummary, TaskView
from modeldist.errors import NotFound
from modeldist.scheduler.phase1 import views as phase1
from modeldist.scheduler.pieces import PieceLayout

router = APIRouter(tags=["tasks"])

ShardDigest = Annotated[str, Path(max_length=80, pattern=NO_NUL, examples=[SHARD])]


@router.get("/tasks", dependencies=[needs_read], summary="Shard tasks")
async def list_tasks(plane: Plane, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> TaskPage:
    """In order of digest."""
    digests = sorted(plane.scheduler.tasks())
    start = bisect_right(digests, cursor) if cursor is not None else 0
    page, last = split(digests[start : start + limit + 1], limit)
    now = time.monotonic()
    seen = [plane.scheduler.task(digest, now) for digest in page]
    return TaskPage([_summary(task) for task in seen if task is not None], last)


@router.get("/tasks/{digest}", dependencies=[needs_read], summary="One shard task", responses=answers(404))
async def get_task(digest: ShardDigest, plane: Plane) -> TaskView:
    """Its nodes, who fetches from whom, and the origin leases."""
    task = plane.scheduler.task(Digest(digest), time.monotonic())
    if task is None:
        raise NotFound(
            f"There is no shard task {digest!r}.",
            remedy="See the list of tasks; one ends with its last node.",
        )
    return TaskView(
        **vars(_summary(task)),
        members=[_member(member) for member in sorted(task.members, key=lambda member: member.node)],
        active_leases=[_lease(lease) for lease in task.leases],
    )


def _summary(task: phase1.TaskView) -> TaskSummary:
    held = PieceLayout(task.size, task.piece_size).bytes_of(task.held)
    return TaskSummary(
        digest=task.task,
        size=task.size,
        origin=task.origin,
        piece_size=task.piece_size,
        pieces=task.pieces,
        nodes=len(task.members),
        holders=task.holders,
        leases=len(task.leases),
        held=held,
        origin_bytes=task.origin_bytes,
        ratio=task.origin_bytes / held if held else None,
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
