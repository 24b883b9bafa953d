"""The engine's parts where traces are recorded: each does what its base does, and tells spans of it (`traces.py`).

They take the places of their bases when an engine is made (`Engine`), so that one without traces has nothing to ask for
each piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeldist.agent.lease_reads import LeaseReads
from modeldist.agent.node import Node
from modeldist.agent.origin_reads import LeaseRead
from modeldist.agent.peer_fetch import PeerFetches, Request
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.shards import Shards
from modeldist.agent.store import ShardLocked
from modeldist.agent.traces import Traces
from modeldist.artifact import Artifact, Shard
from modeldist.errors import ModeldistError
from modeldist.scheduler.messages import Priority
from modeldist.tracing import NO_SPAN, Span, begin, shown
from modeldist.tracing.spans import cause_of
from modeldist.transfer.base import Busy, Lost, Outcome, Received, Refused


class TracedShards(Shards):
    def __init__(self, traces: Traces, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._spans = traces

    def watch(self, pull: str, ended: Any, span: Span = NO_SPAN) -> None:
        super().watch(pull, ended, span)
        self._spans.pull(pull, span)

    def unwatch(self, pull: str) -> None:
        super().unwatch(pull)
        self._spans.forget(pull)

    async def _begin(
        self,
        artifact: Artifact,
        shards: Sequence[Shard],
        priority: Priority,
        pull: str,
        begun: list[ShardFetch],
        *,
        provisional: bool,
    ) -> None:
        before = len(begun)
        try:
            await super()._begin(artifact, shards, priority, pull, begun, provisional=provisional)
        finally:
            for fetch in begun[before:]:
                self._spans.began(fetch, pull)

    async def _read_whole(
        self, artifact: Artifact, shards: Sequence[Shard], pull: str, locked: list[ShardLocked]
    ) -> None:
        span = begin(
            "small shards", self._spans.context(pull), pull=pull, shards=len(shards), origin=shown(artifact.endpoint)
        )
        try:
            await super()._read_whole(artifact, shards, pull, locked)
        except BaseException as error:
            span.failed(cause_of(error))
            raise
        finally:
            span.end()

    def complete(self, fetch: ShardFetch) -> None:
        self._spans.complete(fetch.shard.digest)
        super().complete(fetch)

    async def end(self, fetch: ShardFetch, error: ModeldistError | None) -> None:
        already = fetch.ended
        await super().end(fetch, error)
        if not already:
            self._spans.ended(fetch, error)


class TracedPeerFetches(PeerFetches):
    def __init__(self, traces: Traces, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._traces = traces

    def start(self, fetch: ShardFetch, piece: int, node: str, *, awaited: bool) -> None:
        self._traces.parent(fetch, node)
        super().start(fetch, piece, node, awaited=awaited)

    def _verified(self, request: Request) -> None:
        if told := self._traces.parent(request.fetch, request.node):
            told.came(request.piece, request.length, request.seconds)
        super()._verified(request)

    def _checked(self, request: Request, received: Received, good: bytes | None) -> None:
        if good is None and (told := self._traces.parent(request.fetch, request.node)):
            told.failed(request.piece, "wrong")
        super()._checked(request, received, good)

    def _not_received(self, request: Request, outcome: Outcome) -> None:
        if told := self._traces.parent(request.fetch, request.node):
            why = {Busy: "busy", Refused: "refused", Lost: "lost"}.get(type(outcome), "not written")
            told.failed(request.piece, why)
        super()._not_received(request, outcome)


class TracedLeaseReads(LeaseReads):
    def __init__(self, traces: Traces, node: Node, *given: Any, **named: Any) -> None:
        super().__init__(node, *given, **named)
        self._traces = traces

    def start(self, fetch: ShardFetch, lease: int, start: int, count: int) -> None:
        self._traces.lease(fetch, lease, start, count)
        super().start(fetch, lease, start, count)

    def _piece(self, read: LeaseRead, piece: int) -> None:
        super()._piece(read, piece)
        if told := self._traces.of_lease(read):
            told.came(piece, read.fetch.layout.length(piece), 0.0)

    def _ended(self, read: LeaseRead) -> None:
        self._traces.lease_ended(read)
        super()._ended(read)
