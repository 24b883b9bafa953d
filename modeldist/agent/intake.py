"""What came into this node, counted for as long as the agent runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Intake:
    """Bytes by source; pieces that were verified, or were wrong; shards that were wrong as a whole; what did not come:
    `peer_failures` by busy, refused, lost or disk, `origin_failures` by the error's code."""

    origin: int = 0  # of reads that have ended
    peers: int = 0
    rdma: int = 0  # of them
    reused: int = 0
    pieces_origin: int = 0
    pieces_peers: int = 0
    wrong_pieces: int = 0
    rejected: int = 0
    peer_failures: Counter[str] = field(default_factory=Counter)
    origin_failures: Counter[str] = field(default_factory=Counter)
