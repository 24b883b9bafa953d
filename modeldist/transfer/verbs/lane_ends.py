"""Lane ends on the wire, and which of this node's rails goes with another node's."""

from __future__ import annotations

from collections.abc import Sequence

from modeldist.transfer import frames
from modeldist.transfer.verbs.rails import OpenRail
from rdma.interface import Endpoint


def on_the_wire(endpoint: Endpoint) -> frames.LaneEnd:
    return frames.LaneEnd(endpoint.number, endpoint.gid, endpoint.lid, endpoint.packet, endpoint.mtu, endpoint.reads)


def from_the_wire(end: frames.LaneEnd) -> Endpoint:
    """Raises ValueError for what no queue pair can be."""
    return Endpoint(end.number, end.gid, end.lid, end.packet, end.mtu, end.reads)


def rail_towards(rails: Sequence[OpenRail], gid: bytes) -> OpenRail:
    """The rail whose address has most in common with the other side's: on a fabric of several rails, a rail's addresses
    share a prefix."""
    far = int.from_bytes(gid)
    return min(rails, key=lambda rail: (int.from_bytes(rail.rail.gid.address.packed) ^ far).bit_length())
