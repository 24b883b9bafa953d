"""/racks: the nodes rack by rack, for whoever has too many of them to look at."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

from fastapi import APIRouter

from modeldist.control.api.authentication import Plane, needs_read
from modeldist.control.api.pages import DEFAULT_LIMIT, Limit, Number, numbered
from modeldist.control.views import RackPage, RackView
from modeldist.scheduler.phase1.views import NodeView

router = APIRouter(tags=["nodes"])


@router.get("/racks", dependencies=[needs_read], summary="Nodes, rack by rack")
async def list_racks(
    plane: Plane,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Number = None,
) -> RackPage:
    """In order of zone and rack; nodes that named none are in one whose name is empty."""
    known = Counter(await plane.nodes.in_racks())
    connected: Counter[tuple[str, str]] = Counter()
    seen: defaultdict[tuple[str, str], list[NodeView]] = defaultdict(list)
    for session in plane.core.sessions.values():
        at = session.hello.location
        connected[at.zone, at.rack] += 1
    for node in plane.scheduler.nodes(time.monotonic()):
        if node.node in plane.core.sessions:
            seen[node.location.zone, node.location.rack].append(node)
    places = sorted(known.keys() | connected.keys())
    page, following = numbered(places, cursor, limit)
    racks = [_rack(place, known[place], connected[place], seen[place]) for place in page]
    return RackPage(racks, following)


def _rack(place: tuple[str, str], known: int, connected: int, nodes: list[NodeView]) -> RackView:
    loads = [node.load for node in nodes if node.load is not None]
    return RackView(
        *place,
        known=max(known, connected),
        connected=connected,
        received=sum(load.nic_rx or 0.0 for load in loads),
        sent=sum(load.nic_tx or 0.0 for load in loads),
        busy=sum(min(1.0, node.utilisation) for node in nodes) / len(nodes) if nodes else 0.0,
    )
