"""The spans of one engine, whoever tells of them (`traced.py`):

    pull ─▶ resolve, shard ─▶ origin lease, peer fetch ─▶ pieces, as events

How many spans and events a pull has is bounded, however many pieces it has.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from modeldist.agent.origin_reads import LeaseRead
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.artifact import Digest
from modeldist.errors import ModeldistError
from modeldist.tracing import NO_SPAN, Span, begin, shown
from modeldist.tracing.spans import cause_of

SHARDS = 1000  # of one pull that have spans
LEASES = 64  # of one shard that have
PARENTS = 64  # likewise
PIECES = 32  # events of one span; the SDK keeps 128


@dataclass(eq=False)
class _Pieces:
    """What a span has told of pieces, and what it will at its end. `last`: nanoseconds since the epoch."""

    span: Span
    count: int = 0
    bytes: int = 0
    seconds: float = 0.0
    failures: int = 0
    last: int = 0

    def came(self, piece: int, size: int, seconds: float) -> None:
        self.count += 1
        self.bytes += size
        self.seconds += seconds
        self.last = time.time_ns()
        if self.count <= PIECES:
            self.span.event("piece", piece=piece, bytes=size, seconds=seconds)

    def failed(self, piece: int, why: str) -> None:
        self.failures += 1
        self.last = time.time_ns()
        if self.failures <= PIECES:
            self.span.event("no piece", piece=piece, why=why)

    def end(self) -> None:
        self.span.say(pieces=self.count, bytes=self.bytes, seconds=self.seconds, failures=self.failures)
        self.span.end(self.last or None)


@dataclass(eq=False)
class _Shard:
    span: Span
    parents: dict[str, _Pieces] = field(default_factory=dict)
    leases: dict[int, _Pieces] = field(default_factory=dict)
    granted: int = 0


class Traces:
    """The spans of one engine. On its loop, but for pieces of leases."""

    def __init__(self) -> None:
        self._pulls: dict[str, tuple[Span, list[int]]] = {}  # with how many shards
        self._shards: dict[Digest, _Shard] = {}

    def pull(self, pull: str, span: Span) -> None:
        self._pulls[pull] = span, [0]

    def forget(self, pull: str) -> None:
        self._pulls.pop(pull, None)

    def context(self, pull: str) -> str:
        return self._pulls.get(pull, (NO_SPAN,))[0].context

    def began(self, fetch: ShardFetch, pull: str) -> None:
        """`pull` wants the shard, first or beside others."""
        if pull not in self._pulls:
            return
        wanting, counted = self._pulls[pull]
        if fetch.shard.digest in self._shards:
            wanting.event("shares a shard that is being fetched", task=fetch.shard.digest)
            return
        counted[0] += 1
        if counted[0] > SHARDS:
            wanting.say(shards_without_spans=counted[0] - SHARDS)
            return
        span = begin(
            "shard",
            wanting.context,
            pull=pull,
            task=fetch.shard.digest,
            shard=fetch.path,
            bytes=fetch.wanted_bytes,
            bytes_here=fetch.local_bytes,
        )
        fetch.trace = span.context
        self._shards[fetch.shard.digest] = _Shard(span)

    def wants_lease(self, task: Digest, pieces: int, *, out_of_reach: bool) -> None:
        """Phase 2 asks for pieces to read from the origin."""
        if shard := self._shards.get(task):
            shard.span.event("asks for a lease", pieces=pieces, out_of_reach=out_of_reach)

    def complete(self, task: Digest) -> None:
        if shard := self._shards.get(task):
            shard.span.event("all pieces are here")

    def parent(self, fetch: ShardFetch, node: str) -> _Pieces | None:
        """Of whom phase 2 takes a piece."""
        if (shard := self._shards.get(fetch.shard.digest)) is None:
            return None
        if node not in shard.parents and len(shard.parents) < PARENTS:
            span = begin(
                "peer fetch",
                shard.span.context,
                kind="client",
                task=fetch.shard.digest,
                shard=fetch.path,
                parent=node,
            )
            shard.parents[node] = _Pieces(span)
        return shard.parents.get(node)

    def lease(self, fetch: ShardFetch, lease: int, start: int, count: int) -> None:
        """That phase 1 granted and phase 2 has read."""
        shard = self._shards.get(fetch.shard.digest)
        if shard is None or shard.granted >= LEASES:
            return
        shard.granted += 1
        span = begin(
            "origin lease",
            shard.span.context,
            kind="client",
            task=fetch.shard.digest,
            shard=fetch.path,
            lease=lease,
            first_piece=start,
            pieces_granted=count,
            origin=shown(fetch.artifact.endpoint),
        )
        shard.leases[lease] = _Pieces(span)

    def of_lease(self, read: LeaseRead) -> _Pieces | None:
        shard = self._shards.get(read.fetch.shard.digest)
        return shard.leases.get(read.lease) if shard else None

    def lease_ended(self, read: LeaseRead) -> None:
        shard = self._shards.get(read.fetch.shard.digest)
        if shard is None or (told := shard.leases.pop(read.lease, None)) is None:
            return
        told.bytes, told.last = read.bytes, time.time_ns()
        if read.error is not None:
            told.span.failed(cause_of(read.error))
        elif read.stopped:
            told.span.event("stopped")
        told.end()

    def ended(self, fetch: ShardFetch, error: ModeldistError | None) -> None:
        if (shard := self._shards.pop(fetch.shard.digest, None)) is None:
            return
        for told in (*shard.parents.values(), *shard.leases.values()):
            told.end()
        shard.span.say(
            bytes_origin=fetch.from_origin,
            bytes_peers=fetch.peer_bytes.total(),
            bytes_local=fetch.local_bytes,
            starts=fetch.starts + 1,
        )
        if error is not None:
            shard.span.failed(cause_of(error))
        shard.span.end()
