"""Looks up what an agent's metrics are now. Nothing of it costs anything between two looks but a few additions."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator

from modeldist import __version__
from modeldist.agent.engine import Engine
from modeldist.agent.metrics import names
from modeldist.agent.progress import FINAL
from modeldist.agent.pull import Pull
from modeldist.agent.pulls import Pulls
from modeldist.errors import (
    AccessDenied,
    AuthenticationRequired,
    IntegrityError,
    NotFound,
    OriginProtocolError,
    OriginUnavailable,
    RateLimited,
)
from modeldist.metrics.exposition import exposition
from modeldist.metrics.histogram import Histogram
from modeldist.metrics.metric import Sample
from modeldist.transfer.verbs import NodeRails
from modeldist.transfer.verbs.detours import KINDS, kind_of

SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Buckets of how long pulls take, from one that finds all here to a terabyte at 3 Gbit/s."""
RATES = (1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10)
"""Buckets of bytes/s, up to a link of 80 Gbit/s."""
SHOWS_A_RATE = 64 << 20  # bytes of a pull; what takes moments says how far the origin is, not how fast
PEER_REASONS = ("busy", "lost", "refused", "disk")
ORIGIN_ERRORS = (
    NotFound,
    AuthenticationRequired,
    AccessDenied,
    RateLimited,
    OriginUnavailable,
    OriginProtocolError,
    IntegrityError,
)
OTHER = "other"
UNDER_WAY = ("resolving", "waiting", "pulling", "materialising")


class AgentMetrics:
    """Of one engine, from now on. On the engine's loop."""

    def __init__(self, engine: Engine, pulls: Pulls, rails: NodeRails | None) -> None:
        self._engine = engine
        self._pulls = pulls
        self._rails = rails
        self._ended: Counter[str] = Counter(dict.fromkeys(sorted(FINAL), 0))
        self._seconds = Histogram(names.SECONDS, SECONDS, known=[(state,) for state in self._ended])
        self._rates = Histogram(names.RATE, RATES)
        self._stale = 0
        pulls.ended = self._note

    def _note(self, pull: Pull) -> None:
        self._ended[pull.state] += 1
        self._seconds.note(pull.seconds, pull.state)
        self._stale += pull.state == "done" and bool(pull.stale)
        if pull.state == "done" and pull.seconds > 0:
            now = pull.snapshot()
            if (moved := now.origin + now.peers) >= SHOWS_A_RATE:
                self._rates.note(moved / pull.seconds)

    async def text(self, accept: str = "") -> tuple[bytes, str]:
        """The body of an answer and its content type."""
        store = await asyncio.to_thread(lambda: list(self._store()))
        looked_up = [*self._agent(), *self._transfers(), *self._failures(), *self._of_pulls(), *store]
        return exposition(looked_up, accept)

    def _agent(self) -> Iterator[Sample]:
        engine = self._engine
        yield names.INFO.at(1, __version__, engine.store.node_id, engine.config.name)
        yield names.CONNECTED.at(engine.session.connected)

    def _transfers(self) -> Iterator[Sample]:
        engine, intake = self._engine, self._engine.node.intake
        reading = sum(read.bytes for fetch in engine.node.fetches.values() for read in fetch.reads)
        yield names.RECEIVED.at(intake.origin + reading, "origin", "http")
        yield names.RECEIVED.at(max(0, intake.peers - intake.rdma), "peer", "tcp")
        yield names.RECEIVED.at(intake.rdma, "peer", "rdma")
        yield names.RECEIVED.at(intake.reused, "store", "copy")
        yield names.PIECES.at(intake.pieces_origin, "origin")
        yield names.PIECES.at(intake.pieces_peers, "peer")
        yield names.FETCHING.at(len(engine.node.fetches))
        yield names.LEASES.at(engine.origin_reads)
        yield names.IN_FLIGHT.at(engine.bytes_in_flight)
        if engine.server is not None:
            load = engine.server.load()
            yield names.SENT.at(load.bytes_sent)
            yield names.QUEUE.at(load.requests)
            yield names.QUEUED_BYTES.at(load.bytes_queued)

    def _failures(self) -> Iterator[Sample]:
        """Every reason from the start, at 0: the first of a kind is an increase, too."""
        intake = self._engine.node.intake
        yield names.WRONG_PIECES.at(intake.wrong_pieces)
        yield names.REJECTED.at(intake.rejected)
        for reason in PEER_REASONS:
            yield names.PEER_FAILURES.at(intake.peer_failures[reason], reason)
        codes = Counter({error.code: 0 for error in ORIGIN_ERRORS} | {OTHER: 0})
        for code, count in intake.origin_failures.items():
            codes[code if code in codes else OTHER] += count
        for reason, count in codes.items():
            yield names.ORIGIN_FAILURES.at(count, reason)
        kinds = Counter[str](dict.fromkeys(KINDS, 0))
        for words, pieces in (self._rails.detours.reasons if self._rails else {}).items():
            kinds[kind_of(words)] += pieces
        for kind, pieces in kinds.items():
            yield names.FALLBACKS.at(pieces, kind)

    def _of_pulls(self) -> Iterator[Sample | Histogram]:
        under_way = self._pulls.running()
        running: Counter[str] = Counter(pull.state for pull in under_way)
        for state in UNDER_WAY:
            yield names.PULLS.at(running[state], state)
        for state, count in self._ended.items():
            yield names.ENDED.at(count, state)
        yield self._seconds
        yield names.PULL_AGE.at(max((pull.seconds for pull in under_way), default=0.0))
        yield self._rates
        yield names.STALE.at(self._stale)

    def _store(self) -> Iterator[Sample]:
        store = self._engine.store
        disk = os.statvfs(store.root)
        yield names.ARTIFACTS.at(sum(1 for stored in store.artifacts() if stored.snapshot))
        yield names.FREE.at(disk.f_bavail * disk.f_frsize)
        yield names.CAPACITY.at(disk.f_blocks * disk.f_frsize)
        yield names.DAMAGED.at(store.scrubber.round.damaged)
