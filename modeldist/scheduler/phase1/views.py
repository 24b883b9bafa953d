"""Read-only pictures of phase 1's state, for the REST API. Sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Load, Location, Priority
from modeldist.scheduler.pieces import PieceSet


@dataclass(frozen=True, slots=True)
class LeaseView:
    """`unread`: pieces not verified yet. `age`: seconds since it was granted, `idle`: without progress. `after`: the
    lease it follows (0: none)."""

    lease: int
    node: str
    start: int
    count: int
    unread: PieceSet
    bytes: int
    age: float
    idle: float
    after: int


@dataclass(frozen=True, slots=True)
class MemberView:
    """One node in a task. `complete`: it has all that it is here for. `bytes_here`: verified; `bytes_origin`: of these,
    read by it from the origin."""

    node: str
    have: PieceSet
    complete: bool
    wants: bool
    priority: Priority
    bytes_here: int
    bytes_origin: int
    parents: tuple[str, ...]
    children: int


@dataclass(frozen=True, slots=True)
class TaskBrief:
    """A task without its members one by one: cheap, however many there are. `leases`: how many are out."""

    task: Digest
    origin: str
    size: int
    piece_size: int
    pieces: int
    held: PieceSet
    holders: int  # members with all of it
    origin_bytes: int
    nodes: int
    leases: int


@dataclass(frozen=True, slots=True)
class MembershipView:
    """One node's part in one task of `size` bytes."""

    task: Digest
    size: int
    member: MemberView


@dataclass(frozen=True, slots=True)
class TaskView:
    """`origin_bytes`: verified bytes read from the origin by all members, gone ones included. `askers`: members that
    wait for a lease."""

    task: Digest
    origin: str
    size: int
    piece_size: int
    pieces: int
    digests_known: int
    held: PieceSet
    holders: int  # members with all of it
    origin_bytes: int
    resets: int
    askers: int
    members: tuple[MemberView, ...]
    leases: tuple[LeaseView, ...]


@dataclass(frozen=True, slots=True)
class NodeView:
    """`load` is None when unknown; `load_age` None when never reported. `goodput`: what a child gets while it waits
    for pieces, as children measured it; `failures`: their recent failures with it, fading. `link_sends`,
    `link_receives`: of its link when it was measured, `link_age` ago; None: it was not, or nobody could say."""

    node: str
    address: str
    location: Location
    tasks: int
    load: Load | None
    load_age: float | None
    goodput: float | None
    failures: float
    children: int
    utilisation: float
    link_sends: float | None = None
    link_receives: float | None = None
    link_age: float | None = None
