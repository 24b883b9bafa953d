"""A shard task as it is drawn: places, the edges between them, and which pieces are rare.

A place is a node, a rack or a zone: of a swarm of a thousand nodes nobody can read sixteen thousand edges.
"""

from __future__ import annotations

import base64
import time
import zlib
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from modeldist.artifact import Digest
from modeldist.control.agent_session import AgentSession
from modeldist.control.views import EdgeView, PieceMapView, PlaceView, SwarmView
from modeldist.scheduler.phase1.views import MemberView, TaskView
from modeldist.scheduler.pieces import PieceLayout

By = Literal["node", "rack", "zone"]
READABLE = 60  # places that a picture of them can hold
STRETCHES = 240  # into which a shard is cut for a picture of what is rare
FRESH = 0.5  # seconds; whoever asks within them gets the same picture
_PICTURES = 64


class Where(NamedTuple):
    """What is known of a node beside the swarm."""

    name: str
    rack: str
    zone: str
    connected: bool


class Pictures:
    """The newest picture of each task, so that many who look cost no more than one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._made: OrderedDict[tuple[str, By | None], tuple[float, SwarmView]] = OrderedDict()

    def of(self, digest: Digest, by: By | None, draw: Callable[[], SwarmView]) -> SwarmView:
        """`draw` makes it; what it raises is raised."""
        now = self._clock()
        at, picture = self._made.pop((digest, by), (float("-inf"), None))
        if picture is None or now - at > FRESH:
            at, picture = now, draw()
        self._made[digest, by] = at, picture
        if len(self._made) > _PICTURES:
            self._made.popitem(last=False)
        return picture


def where_of(sessions: Mapping[str, AgentSession]) -> Callable[[str], Where]:
    """Looks a node up; one that has no session is called by its id."""

    def look_up(node: str) -> Where:
        session = sessions.get(node)
        if session is None:
            return Where(node, "", "", connected=False)
        hello = session.hello
        return Where(hello.name or node, hello.location.rack, hello.location.zone, connected=True)

    return look_up


def swarm_view(
    task: TaskView,
    by: By | None,
    look_up: Callable[[str], Where],
    rate: Callable[[str, str], float | None],
) -> SwarmView:
    """`by`: None for the finest that is readable. `rate`: bytes/s that a parent gives a child."""
    where = {member.node: look_up(member.node) for member in task.members}
    by = by or _readable(where)
    place_of = {node: _place(by, node, at) for node, at in where.items()}
    links: Counter[tuple[str, str]] = Counter()
    rates: defaultdict[tuple[str, str], float] = defaultdict(float)
    for member in task.members:
        if not member.wants or member.complete:
            continue
        child = place_of[member.node]
        for parent in member.parents:
            if parent in place_of:
                pair = place_of[parent], child
                links[pair] += 1
                rates[pair] += rate(parent, member.node) or 0.0
    return SwarmView(
        digest=task.task,
        by=by,
        size=task.size,
        piece_size=task.piece_size,
        pieces=task.pieces,
        nodes=len(task.members),
        held=PieceLayout(task.size, task.piece_size).bytes_of(task.held),
        origin=task.origin,
        origin_bytes=task.origin_bytes,
        places=_places(task, by, where, place_of),
        edges=[EdgeView(*pair, count, rates[pair]) for pair, count in sorted(links.items()) if pair[0] != pair[1]],
        within={pair[0]: rates[pair] for pair in sorted(links) if pair[0] == pair[1]},
        holders=_holders(task),
    )


def _readable(where: Mapping[str, Where]) -> By:
    if len(where) <= READABLE:
        return "node"
    return "rack" if len({(at.zone, at.rack) for at in where.values()}) <= READABLE else "zone"


def _place(by: By, node: str, at: Where) -> str:
    match by:
        case "node":
            return node
        case "rack":
            return f"{at.zone}/{at.rack}"
        case _:
            return at.zone


def _places(task: TaskView, by: By, where: Mapping[str, Where], place_of: Mapping[str, str]) -> list[PlaceView]:
    grouped: defaultdict[str, list[MemberView]] = defaultdict(list)
    for member in task.members:
        grouped[place_of[member.node]].append(member)
    reading = Counter(place_of[lease.node] for lease in task.leases if lease.node in place_of)
    places = [_of_members(place, by, members, where, reading[place]) for place, members in grouped.items()]
    return sorted(places, key=lambda place: (place.zone, place.rack, place.name, place.place))


def _of_members(place: str, by: By, members: list[MemberView], where: Mapping[str, Where], reading: int) -> PlaceView:
    first = where[members[0].node]
    return PlaceView(
        place=place,
        name={"node": first.name, "rack": first.rack, "zone": first.zone}[by],
        rack=first.rack if by != "zone" else "",
        zone=first.zone,
        nodes=len(members),
        complete=sum(member.complete for member in members),
        away=sum(not where[member.node].connected for member in members),
        bytes_here=sum(member.bytes_here for member in members),
        bytes_origin=sum(member.bytes_origin for member in members),
        reading=reading,
    )


def _holders(task: TaskView) -> list[float]:
    """Of equal stretches of the shard, how many nodes have each. All bitmaps are added at once: plane `i` has bit `i`
    of every piece's count."""
    planes: list[int] = []
    for member in task.members:
        carry = member.have.bits
        for index, plane in enumerate(planes):
            if not carry:
                break
            planes[index], carry = plane ^ carry, plane & carry
        if carry:
            planes.append(carry)
    count = min(STRETCHES, task.pieces)
    found = []
    for index in range(count):
        start, stop = index * task.pieces // count, (index + 1) * task.pieces // count
        mask = (1 << stop - start) - 1
        total = sum((plane >> start & mask).bit_count() << bit for bit, plane in enumerate(planes))
        found.append(round(total / (stop - start), 2))
    return found


def piece_map(member: MemberView, name: str, leased: Iterable[tuple[int, int]]) -> PieceMapView:
    return PieceMapView(
        node=member.node,
        name=name,
        have=len(member.have),
        map=base64.b64encode(zlib.compress(member.have.to_bytes())).decode(),
        leased=[[start, count] for start, count in leased],
    )
