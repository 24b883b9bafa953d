"""An origin's budget: streams and bytes per second that are never exceeded, and whose turn it is to read.

A stream is a lease that may be read now. Fewer streams than the hard limit are used where more would not help: N
streams share the origin's link, so each piece takes N times as long before anybody can pass it on.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import islice

from modeldist.artifact import Digest

_LEAST_WEIGHT = 0.1
_COMPARED = 64  # askers whose levels a newcomer's is taken from: in a flash crowd there are thousands

Asker = tuple[str, Digest]


@dataclass(frozen=True, slots=True)
class OriginLimits:
    """`streams`: leases read at the same time, at most; `node_streams`: of these by one node. `rate`: bytes/s granted,
    at most (None: unlimited), with one second's worth saved up at most. `target_streams`: how many are enough to fill
    the origin's link; more are used only while the bytes they read together stay under `small_bytes` (many small
    shards). `ramp`: how many are used before the first piece was read."""

    streams: int = 64
    node_streams: int = 8
    rate: float | None = None
    target_streams: int = 16
    small_bytes: int = 8 << 20
    ramp: int = 2


@dataclass(slots=True)
class Turn:
    """What decides whose turn it is: fewer streams now, then fewer bytes granted so far for the node's weight, which is
    how well it serves beside the others (0..1)."""

    streams: int = 0
    granted: float = 0.0
    weight: float = 1.0

    @property
    def level(self) -> float:
        return self.granted / self.weight


@dataclass(slots=True)
class OriginBudget:
    """`streams` and `reading` (bytes under active leases) are kept by the lease desk. `ramp`: streams used so far at
    most (one per asking node, if that is more); it grows with every piece read, so that a node that is the first to ask
    does not take all streams before the others are there. `stream_rate`: bytes/s that a stream brings, the median of
    those who ask; 0 where too few do."""

    limits: OriginLimits
    streams: int = 0
    reading: int = 0
    ramp: int = field(init=False)
    stream_rate: float = 0.0
    tokens: float = 0.0
    refilled: float | None = None
    turns: dict[str, Turn] = field(default_factory=dict)
    asking: dict[str, dict[Digest, None]] = field(default_factory=dict)  # node -> tasks it asks for
    asks: int = 0  # tasks in `asking`, of all nodes together
    waiting: list[tuple[int, int, float, int, Asker]] = field(default_factory=list)
    _queued: set[Asker] = field(default_factory=set)
    _order: int = 0

    def __post_init__(self) -> None:
        self.ramp = self.limits.ramp

    # --- whose turn ------------------------------------------------------------------------------------------------

    def turn(self, node: str) -> Turn:
        turn = self.turns.get(node)
        if turn is None:
            # A newcomer starts level with the least served, not with a claim on all that was granted before.
            asking = islice(self.asking, _COMPARED)
            level = min((self.turns[other].level for other in asking if other in self.turns), default=0.0)
            turn = self.turns[node] = Turn(granted=level)
        return turn

    def queue(self, asker: Asker, priority: int) -> None:
        if asker in self._queued:
            return
        self._queued.add(asker)
        self._order += 1
        turn = self.turn(asker[0])
        heapq.heappush(self.waiting, (priority, turn.streams, turn.level, self._order, asker))

    def pop(self) -> tuple[int, Asker] | None:
        """The asker whose turn it is (with its priority), taken off the queue."""
        while self.waiting:
            priority, streams, level, _, asker = heapq.heappop(self.waiting)
            self._queued.discard(asker)
            turn = self.turn(asker[0])
            if (turn.streams, turn.level) > (streams, level):
                self.queue(asker, priority)  # it was granted something meanwhile: back to its new place
                continue
            return priority, asker
        return None

    def someone_idle(self) -> bool:
        """Whether an asker that reads nothing waits for its turn."""
        popped = self.pop()
        if popped is None:
            return False
        self.queue(popped[1], popped[0])
        return self.turn(popped[1][0]).streams == 0

    def fair_share(self) -> float:
        """The level that all nodes would have, had each been granted after its weight."""
        turns = self.turns.values()
        return sum(turn.granted for turn in turns) / max(_LEAST_WEIGHT, sum(turn.weight for turn in turns))

    def weigh(self, weights: dict[str, float]) -> None:
        for node, turn in self.turns.items():
            turn.weight = max(_LEAST_WEIGHT, weights.get(node, turn.weight))

    # --- how much --------------------------------------------------------------------------------------------------

    def node_quota(self) -> int:
        """Streams one node may have: its share of those in use."""
        return max(1, -(-self.limits.target_streams // max(1, len(self.asking))))

    def has_stream(self) -> bool:
        limits = self.limits
        if self.streams >= limits.streams:
            return False
        if self.streams < min(limits.target_streams, max(self.ramp, len(self.asking))):
            return True
        return self.reading < limits.small_bytes and self._small()

    def _small(self) -> bool:
        return self.streams == 0 or self.reading // self.streams < self.limits.small_bytes // self.limits.streams

    def allowance(self, now: float) -> float:
        """Bytes that may be granted now."""
        rate = self.limits.rate
        if rate is None:
            return float("inf")
        if self.refilled is None:
            self.tokens, self.refilled = rate, now
        self.tokens = min(rate, self.tokens + (now - self.refilled) * rate)
        self.refilled = now
        return self.tokens

    def spend(self, size: int) -> None:
        if self.limits.rate is not None:
            self.tokens -= size
