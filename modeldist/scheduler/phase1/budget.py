"""An origin's budget: streams and bytes per second that are never exceeded, and whose turn it is to read.

A stream is a lease that may be read now. Fewer streams than the hard limit are used where more would not help: N
streams share the origin's link, so each piece takes N times as long before anybody can pass it on.
"""

from __future__ import annotations

import heapq
import statistics
from dataclasses import dataclass, field
from itertools import islice

from modeldist.artifact import Digest

_LEAST_WEIGHT = 0.1
_RAMP_SECONDS = 0.1  # until a node that has read nothing may have one stream more
_COMPARED = 64  # askers whose levels a newcomer's is taken from: in a flash crowd there are thousands

Asker = tuple[str, Digest]


@dataclass(frozen=True, slots=True)
class OriginLimits:
    """`streams`: leases read at the same time, at most; `node_streams`: of these by one node. `rate`: bytes/s granted,
    at most (None: unlimited), with one second's worth saved up at most. `target_streams`: how many are enough to fill
    the origin's link; more are used only while the bytes they read together stay under `small_bytes` (many small
    shards). `ramp`: how many a node has that begins to ask."""

    streams: int = 64
    node_streams: int = 8
    rate: float | None = None
    target_streams: int = 16
    small_bytes: int = 8 << 20
    ramp: int = 1


@dataclass(slots=True)
class Turn:
    """What decides whose turn it is: fewer streams now, then fewer bytes granted so far for the node's weight, which is
    how well it serves beside the others (0..1). `read`: pieces read since it began to ask; `began`: when that was
    looked at first."""

    streams: int = 0
    read: int = 0
    began: float | None = None
    granted: float = 0.0
    weight: float = 1.0

    @property
    def level(self) -> float:
        return self.granted / self.weight


@dataclass(slots=True)
class OriginBudget:
    """`streams`, `ending` (of these, at their last piece with no lease to follow) and `reading` (bytes under active
    leases) are kept by the lease desk. `stream_rate`: bytes/s that a
    stream brings, the median of those who ask; 0 where too few do."""

    limits: OriginLimits
    streams: int = 0
    ending: int = 0
    reading: int = 0
    stream_rate: float = 0.0
    tokens: float = 0.0
    refilled: float | None = None
    turns: dict[str, Turn] = field(default_factory=dict)
    asking: dict[str, dict[Digest, None]] = field(default_factory=dict)  # node -> tasks it asks for
    asks: int = 0  # tasks in `asking`, of all nodes together
    waiting: list[tuple[int, int, float, int, Asker]] = field(default_factory=list)
    _queued: set[Asker] = field(default_factory=set)
    _order: int = 0

    # --- whose turn ------------------------------------------------------------------------------------------------

    def turn(self, node: str) -> Turn:
        turn = self.turns.get(node)
        if turn is None:
            # A newcomer starts level with the least served, not with a claim on all that was granted before.
            turn = self.turns[node] = Turn(granted=min(self._levels(), default=0.0))
        return turn

    def begin(self, node: str) -> None:
        """It begins to ask, level with the least served too."""
        turn = self.turn(node)
        turn.read, turn.began = 0, None
        if not turn.streams:
            turn.granted = min(self._levels(), default=0.0) * turn.weight

    def _levels(self) -> list[float]:
        """Of those that ask, or some of them."""
        return [self.turns[node].level for node in islice(self.asking, _COMPARED) if node in self.turns]

    def ahead(self, node: str, slack: int) -> bool:
        """Whether it was granted `slack` bytes more than the median of those that ask, while enough others read.
        Streams are not equally fast, but what a node reads it has to send to all others. The median, as a node that
        reads slowly shall hold up nobody: by the mean, the others would wait for it."""
        return self.streams > self.limits.target_streams // 2 and self.room(node, slack) < 0

    def room(self, node: str, slack: int) -> float:
        """Bytes that may be granted to it until it is `slack` bytes ahead of that median; negative when it is."""
        levels = self._levels()
        if not levels:
            return float("inf")
        turn = self.turn(node)
        return (statistics.median(levels) + slack - turn.level) * turn.weight

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
        """Streams one node may have: its share of those in use. All have the same: who has one more reads more, and
        has more to pass on, than the others."""
        return max(1, self.limits.target_streams // max(1, len(self.asking)))

    def ramp(self, node: str, shard: int, now: float) -> int:
        """Streams for a node that has just begun: more with every piece it reads and with time. The first to ask would
        else be granted, before the others are there, more than it can pass on soon; but not of a small shard, of
        `shard` bytes."""
        limits = self.limits
        if shard <= limits.small_bytes // limits.streams:
            return limits.node_streams
        turn = self.turn(node)
        if turn.began is None:
            turn.began = now
        return limits.ramp + turn.read + int((now - turn.began) / _RAMP_SECONDS)

    @property
    def filled(self) -> bool:
        """Whether as many streams are read as the origin's link needs. One that is at its last piece counts half: by
        the time another node reads in its place it will have ended. Else, with more askers than streams and leases of a
        piece or two, the link stands idle while they all wait for their next ones."""
        return self.streams - self.ending // 2 >= self.limits.target_streams

    def has_stream(self) -> bool:
        limits = self.limits
        if self.streams >= limits.streams:
            return False
        if not self.filled:
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
