"""What phase 1 can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modeldist.scheduler.phase1.budget import OriginLimits


@dataclass(frozen=True, slots=True)
class Phase1Config:
    """Sizes in bytes, times in seconds.

    `origins`: limits per origin (the name in TaskJoin.origin); `default_origin` for all others.
    `restart_grace`: after a start of the control plane, a task that a node joins with partial content gets no leases
    for this long, so that what other nodes hold is known before anything is read again. 0 in embedded mode.
    `restart_window`: how long after the first event a start counts as recent.
    `return_grace`: after a restart nobody gets a lease until all nodes that were there before have said what they hold
    and read, or this long: a node that fetches tries to come back every 2 s. Longer by `return_seconds` for each of
    them, since a control plane opens some thousand sessions a second.
    `reconnect_grace`: a node whose session broke keeps its place and its leases for this long: a living one tries to
    come back after at most 0.25, 0.75 and 1.75 s. `doubted_grace`: the same when a child lost its connection to the
    node too, which is how a killed process looks; long enough for the first of those tries.
    `lease_seconds`: what a lease should take to read at most, by the rate of the node's last leases.
    `lease_timeout`: a lease without progress for this long is revoked; `tail_timeout`: the same when nothing else of
    the task is left to lease, so that everybody waits for it, and its node says all the while that nothing moves.
    `digest_grace`: pieces held by nodes that told no digest become leasable after this long.
    `reset_window`: a rejection this soon after a reset still speaks of before; `max_resets`: of the whole swarm, per
    task; `proof_seconds`: who holds all pieces for this long has checked them against the shard's digest.
    `adopt`: children a member gets at once when it has none.
    `line_from`, `line_upto`: swarms of so many equal members that begin together, and fetch nothing else of size, are
    put in a line (`line.py`). In longer ones the hops cost more than shared links do.
    `stripe_from`: swarms of this many members are striped (`trees.py`), over `fanout` trees; their members get up to
    `striped_candidates` parents, and each root reads from the origin on at most `stripe_streams` streams.
    `measure_interval`: links of nodes are measured (`links.py`) this long after they were last; 0: never.
    `digest_messages`: PieceDigests messages per second and task, over all its members; sets how they are batched.
    """

    default_origin: OriginLimits = OriginLimits()
    origins: Mapping[str, OriginLimits] = field(default_factory=dict)
    candidates: int = 16
    far_candidates: int = 3
    adopt: int = 3
    line_from: int = 4
    line_upto: int = 20
    stripe_from: int = 48
    fanout: int = 3
    striped_candidates: int = 8
    stripe_streams: int = 2
    refresh: float = 15.0
    refresh_share: float = 0.25
    parents_interval: float = 0.25
    lease_timeout: float = 10.0
    tail_timeout: float = 4.0
    lease_seconds: float = 1.0
    lease_back_off: float = 1.0
    lease_back_off_max: float = 30.0
    restart_grace: float = 2.0
    restart_window: float = 30.0
    return_grace: float = 3.0
    return_seconds: float = 0.001
    reconnect_grace: float = 2.0
    doubted_grace: float = 0.5
    digest_grace: float = 2.0
    digest_interval: float = 0.02
    digest_messages: float = 5000.0
    load_stale: float = 3.0
    measure_interval: float = 600.0
    reset_window: float = 2.0
    max_resets: int = 3
    proof_seconds: float = 10.0
