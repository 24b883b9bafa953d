"""A swarm as it can be drawn."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PlaceView:
    """Nodes of a swarm taken together: one node, a rack or a zone, as `by` of the swarm says. `place`: node id, zone
    and rack, or zone; `name`: what people call it. Of its `nodes`, so many have what they want (`complete`), are away
    (`away`). `bytes_here`: verified bytes that all of them hold; `bytes_origin`: read by them from the origin;
    `reading`: origin leases that they have now."""

    place: str
    name: str
    rack: str
    zone: str
    nodes: int
    complete: int
    away: int
    bytes_here: int
    bytes_origin: int
    reading: int


@dataclass(frozen=True)
class EdgeView:
    """`child` may fetch from `parent`, both as `place`. `links`: pairs of nodes; `rate`: bytes/s, as children measured,
    all shards together; 0 where nothing flows."""

    parent: str
    child: str
    links: int
    rate: float


@dataclass(frozen=True)
class SwarmView:
    """Who feeds whom in a shard task. `by`: node, rack, zone; what is inside one place has no edge, its rate is in
    `within`. `holders`: the shard in equal stretches, and how many nodes have each, on average. `model`, `reference`
    and `path` as in TaskSummary."""

    digest: str
    by: str
    size: int
    piece_size: int
    pieces: int
    nodes: int
    held: int
    origin: str
    origin_bytes: int
    places: list[PlaceView]
    edges: list[EdgeView]
    within: dict[str, float]
    holders: list[float]
    model: str | None = None
    reference: str | None = None
    path: str | None = None


@dataclass(frozen=True)
class PieceMapView:
    """`have`: how many pieces the node holds; `map`: which, as base64 of a zlib stream of a bitmap, whose bit 0 of byte
    0 is piece 0. `leased`: runs of pieces that it reads from the origin, start and count of each."""

    node: str
    name: str
    have: int
    map: str
    leased: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class PieceMapPage:
    digest: str
    pieces: int
    maps: list[PieceMapView]
    next: str | None = None
