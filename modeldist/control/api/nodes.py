"""/nodes: every node that connected once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path

from modeldist.control.agent_session import AgentSession
from modeldist.control.api.authentication import Plane, needs_read
from modeldist.control.api.description import answers
from modeldist.control.api.examples import NODE
from modeldist.control.api.pages import DEFAULT_LIMIT, NO_NUL, Cursor, Limit, behind, split
from modeldist.control.plane import ControlPlane
from modeldist.control.store.nodes import KnownNode
from modeldist.control.store.shard_names import ShardName
from modeldist.control.views import NodePage, NodeTaskPage, NodeTaskView, NodeTrafficView, NodeView
from modeldist.errors import NotFound
from modeldist.scheduler.messages import Load
from modeldist.scheduler.phase1 import views as phase1

router = APIRouter(tags=["nodes"])

NodeId = Annotated[str, Path(max_length=256, pattern=NO_NUL, examples=[NODE])]


@router.get("/nodes", dependencies=[needs_read], summary="Nodes, connected or not")
async def list_nodes(plane: Plane, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> NodePage:
    """In order of id."""
    rows = await plane.nodes.listing(cursor, limit + 1)
    views = [_view(plane, known) for known in rows]
    views += [_connected(plane, session, None) for session in _unwritten(plane, rows, limit, cursor)]
    page, last = split(sorted(views, key=lambda view: view.node), limit)
    traffic = _traffic(plane, {view.node for view in page if view.connected})
    return NodePage([replace(view, traffic=traffic.get(view.node)) for view in page], last.node if last else None)


def _unwritten(
    plane: ControlPlane, rows: Sequence[KnownNode], limit: int, cursor: str | None
) -> Iterator[AgentSession]:
    """Of this page, what connected a moment ago and is not in the database yet, where `rows` are from."""
    written = {known.node for known in rows}
    full = len(rows) > limit
    for node, session in plane.core.sessions.items():
        if node not in written and node > (cursor or "") and (not full or node < rows[-1].node):
            yield session


@router.get("/nodes/{node}", dependencies=[needs_read], summary="One node", responses=answers(404))
async def get_node(node: NodeId, plane: Plane) -> NodeView:
    session = plane.core.session(node)
    known = await plane.nodes.get(node)
    if session is not None:
        view = _connected(plane, session, known.first_seen if known else None)
        return replace(view, traffic=_traffic(plane, {node}).get(node))
    if known is not None:
        return _view(plane, known)
    raise _unknown(node)


def _unknown(node: str) -> NotFound:
    return NotFound(f"No node {node!r} ever connected.", remedy="GET /api/v1/nodes has those that did.")


def _task(taken: phase1.MembershipView, name: ShardName | None) -> NodeTaskView:
    member = taken.member
    return NodeTaskView(
        digest=taken.task,
        size=taken.size,
        complete=member.complete,
        wants=member.wants,
        bytes_here=member.bytes_here,
        bytes_origin=member.bytes_origin,
        parents=list(member.parents),
        children=member.children,
        **(name._asdict() if name else {}),
    )


@router.get(
    "/nodes/{node}/tasks", dependencies=[needs_read], summary="What a node takes part in", responses=answers(404)
)
async def get_node_tasks(
    node: NodeId, plane: Plane, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> NodeTaskPage:
    """In order of digest. None of a node that is away."""
    taken = plane.scheduler.memberships(node)
    if not taken and plane.core.session(node) is None and await plane.nodes.get(node) is None:
        raise _unknown(node)
    page, last = behind(taken, cursor, limit, lambda each: each.task)
    names = await plane.artifacts.names_of(each.task for each in page)
    return NodeTaskPage([_task(each, names.get(each.task)) for each in page], last.task if last else None)


def _view(plane: ControlPlane, known: KnownNode) -> NodeView:
    session = plane.core.session(known.node)
    if session is not None:
        return _connected(plane, session, known.first_seen)
    return NodeView(
        node=known.node,
        name=known.name,
        version=known.version,
        address=known.address,
        rack=known.rack,
        zone=known.zone,
        labels=dict(known.labels),
        connected=False,
        first_seen=known.first_seen,
        last_seen=known.last_seen,
        enrolled=plane.token_watch.enrolled(known.node),
    )


def _traffic(plane: ControlPlane, nodes: Iterable[str]) -> dict[str, NodeTrafficView]:
    now = time.monotonic()
    seen = (plane.scheduler.node(node, now) for node in nodes)
    return {each.node: _of(each) for each in seen if each is not None}


def _of(seen: phase1.NodeView) -> NodeTrafficView:
    load = seen.load or Load()
    return NodeTrafficView(
        seen.tasks,
        seen.children,
        seen.goodput,
        seen.failures,
        seen.utilisation,
        load.nic_speed,
        load.nic_rx,
        load.nic_tx,
        load_age=seen.load_age if seen.load else None,
        cpu_busy=load.cpu_busy,
        disk_busy=load.disk_busy,
        queue=load.queue if seen.load else None,
        link_sends=seen.link_sends,
        link_receives=seen.link_receives,
        link_age=seen.link_age,
    )


def _connected(plane: ControlPlane, session: AgentSession, first_seen: float | None) -> NodeView:
    hello = session.hello
    return NodeView(
        node=session.node,
        name=hello.name,
        version=hello.version,
        address=hello.address,
        rack=hello.location.rack,
        zone=hello.location.zone,
        labels=hello.labels,
        connected=True,
        first_seen=first_seen,
        last_seen=plane.registry.last_seen(session),
        artifacts=sorted(session.artifacts),
        enrolled=plane.token_watch.enrolled(session.node),
    )
