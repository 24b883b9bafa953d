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
from modeldist.agent.pull import Pull, Pulls
from modeldist.metrics.exposition import exposition
from modeldist.metrics.histogram import Histogram
from modeldist.metrics.metric import Sample
from modeldist.transfer.verbs import NodeRails

SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Buckets of how long pulls take, from one that finds all here to a terabyte at 3 Gbit/s."""
UNDER_WAY = ("resolving", "waiting", "pulling", "materialising")


class AgentMetrics:
    """Of one engine, from now on. On the engine's loop."""

    def __init__(self, engine: Engine, pulls: Pulls, rails: NodeRails | None) -> None:
        self._engine = engine
        self._pulls = pulls
        self._rails = rails
        self._ended: Counter[str] = Counter(dict.fromkeys(sorted(FINAL), 0))
        self._seconds = Histogram(names.SECONDS, SECONDS)
        pulls.ended = self._note

    def _note(self, pull: Pull) -> None:
        self._ended[pull.state] += 1
        self._seconds.note(pull.snapshot().seconds, pull.state)

    async def text(self, accept: str = "") -> tuple[bytes, str]:
        """The body of an answer and its content type."""
        store = await asyncio.to_thread(lambda: list(self._store()))
        return exposition([*self._agent(), *self._transfers(), *self._of_pulls(), *store], accept)

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
        yield names.WRONG_PIECES.at(intake.wrong_pieces)
        yield names.REJECTED.at(intake.rejected)
        yield names.ORIGIN_FAILURES.at(intake.origin_failures)
        for reason, pieces in sorted(self._rails.detours.reasons.items()) if self._rails else ():
            yield names.FALLBACKS.at(pieces, reason)
        yield names.FETCHING.at(len(engine.node.fetches))
        yield names.LEASES.at(engine.origin_reads)
        yield names.IN_FLIGHT.at(engine.bytes_in_flight)
        if engine.server is not None:
            load = engine.server.load()
            yield names.SENT.at(load.bytes_sent)
            yield names.QUEUE.at(load.requests)
            yield names.QUEUED_BYTES.at(load.bytes_queued)

    def _of_pulls(self) -> Iterator[Sample | Histogram]:
        running: Counter[str] = Counter(pull.state for pull in self._pulls.running())
        for state in UNDER_WAY:
            yield names.PULLS.at(running[state], state)
        for state, count in self._ended.items():
            yield names.ENDED.at(count, state)
        yield self._seconds

    def _store(self) -> Iterator[Sample]:
        store = self._engine.store
        disk = os.statvfs(store.root)
        yield names.ARTIFACTS.at(sum(1 for stored in store.artifacts() if stored.snapshot))
        yield names.FREE.at(disk.f_bavail * disk.f_frsize)
        yield names.CAPACITY.at(disk.f_blocks * disk.f_frsize)
