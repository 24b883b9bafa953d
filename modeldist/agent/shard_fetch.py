"""One shard being fetched: its partial file, what is trusted about it, who writes to it, where its bytes came from."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modeldist.agent.progress import ShardProgress
from modeldist.agent.store import Partial
from modeldist.artifact import Artifact, Shard, ShardChunks, united
from modeldist.scheduler.messages import ParentReport, PieceDigest, Priority
from modeldist.scheduler.parent_tally import ParentTally
from modeldist.scheduler.pieces import PieceLayout, PieceSet, proves_itself
from modeldist.session.asking_again import AskingAgain
from modeldist.tracing import trace_id_of

if TYPE_CHECKING:
    from modeldist.agent.origin_reads import LeaseRead

MAX_NOTES = 20

Ranges = tuple[tuple[int, int], ...]
"""Bytes of a shard, half-open."""


@dataclass(eq=False)
class ShardFetch:
    """State on the loop thread only, except where `partial` is used from others.

    `writers`: piece -> who writes it in place now; a second copy of such a piece goes to a scratch file, so a piece
    that has been verified is never written again. `outstanding`: transfers that still hold the partial's descriptor.
    `turn`: who has it may prove the whole or empty the partial file. `starts`: how often it began anew.
    `ranges`: the bytes that are wanted, where that is not all pieces; such a fetch needs a `table`, since the shard's
    own digest never proves what came, or is `provisional`: then nothing is kept of it but pieces for a later one.
    """

    shard: Shard
    artifact: Artifact
    path: str
    partial: Partial
    priority: Priority
    done: asyncio.Future[None]
    local_bytes: int
    ranges: Ranges = ()
    capability: bytes = b""
    announced: bool = False  # introduced to the control plane
    joined: bool = False  # known to phase 2
    ended: bool = False
    trusted: dict[int, bytes] = field(default_factory=dict)  # what the chunk table says, or else who read it
    published: set[int] = field(default_factory=set)  # digests that went over this session, either way
    writers: dict[int, str] = field(default_factory=dict)
    written: asyncio.Event = field(default_factory=asyncio.Event)  # set when one of `writers` has ended
    outstanding: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    starts: int = 0
    trace: str = ""  # traceparent of what its transfers belong to
    wanted_by: set[str] = field(default_factory=set)
    origin_bytes: int = 0  # of leases that have ended
    reads: set[LeaseRead] = field(default_factory=set)
    peer_bytes: Counter[str] = field(default_factory=Counter)
    rdma_bytes: int = 0  # of them
    detour: str = ""  # why others came over TCP though both nodes have RDMA
    reused_bytes: int = 0  # of the local ones: taken out of other shards
    filling: bool = False  # with those: it joins the swarm afterwards
    holes: dict[int, Ranges] = field(default_factory=dict)  # of pieces that are here in part: what is not
    origin_failures: int = 0
    rejections: int = 0
    from_peers: bool = False  # a peer was asked for a piece of it
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_NOTES))
    turned_away: AskingAgain | None = None  # while the control plane has no room for it
    # since the last report
    verified: list[PieceDigest] = field(default_factory=list)
    have_changed: bool = False
    tallies: dict[str, ParentTally] = field(default_factory=dict)

    @property
    def layout(self) -> PieceLayout:
        return self.partial.layout

    @property
    def facts(self) -> dict[str, str]:
        """What a record of the log about it has."""
        said = {"pull": ",".join(sorted(self.wanted_by)), "task": str(self.shard.digest), "shard": self.path}
        if trace := trace_id_of(self.trace):
            said["trace_id"] = trace
        return said

    @property
    def wanted(self) -> PieceSet:
        """Pieces."""
        return self.layout.touching(self.ranges) if self.ranges else self.layout.all

    @property
    def finished(self) -> bool:
        """All that is wanted is here."""
        return not self.wanted - self.partial.have()

    def covers(self, ranges: Ranges) -> bool:
        """Whether it brings these bytes too (none: all of the shard)."""
        return not self.ranges or (bool(ranges) and not self.layout.touching(ranges) - self.wanted)

    def widen(self, ranges: Ranges) -> None:
        """These are wanted as well (none: all). No transfer may be running."""
        self.ranges = united(self.ranges, ranges) if ranges else ()
        if not self.ranges:
            self.partial.widen()

    @property
    def wanted_bytes(self) -> int:
        return self.layout.bytes_of(self.wanted)

    @property
    def wanted_here(self) -> int:
        """Bytes of it."""
        return self.layout.bytes_of(self.wanted & self.partial.have())

    @property
    def self_proving(self) -> bool:
        """One piece, whose content the shard's own digest proves."""
        return proves_itself(self.shard.digest, self.layout)

    @property
    def provisional(self) -> bool:
        """Somebody reads these bytes as they were read at the origin, before anything proves the whole."""
        return bool(self.ranges) and self.artifact.chunks_of(self.shard.digest) is None

    @property
    def table(self) -> ShardChunks | None:
        """The shard's part of its artifact's chunk table, where the swarm cuts it into the same pieces."""
        chunks = self.artifact.chunks_of(self.shard.digest)
        return chunks if chunks and chunks.chunk_size == self.layout.piece_size else None

    def expected(self, piece: int) -> bytes | None:
        """What a piece read from the origin has to be, where that is known before."""
        return table.of(piece) if (table := self.table) else None

    def lacking(self, piece: int) -> Ranges:
        """What has to be fetched for a piece that is not here."""
        start = self.layout.offset(piece)
        return self.holes.get(piece) or ((start, start + self.layout.length(piece)),)

    def mended(self, piece: int) -> int:
        """A piece that was here in part is whole and right; the bytes of that part."""
        if not (holes := self.holes.pop(piece, None)):
            return 0
        here = self.layout.length(piece) - total(holes)
        self.local_bytes += here
        self.reused_bytes += here
        return here

    def filled(self, holes: dict[int, Ranges]) -> int:
        """Pieces were added from other shards, so many bytes; of others these ranges are left."""
        before, self.local_bytes = self.local_bytes, self.wanted_here
        self.reused_bytes += self.local_bytes - before
        self.holes = holes
        return self.local_bytes - before

    def trust_again(self) -> None:
        """The partial file is cut or filled otherwise now: trust what proves its pieces, and no digest but those."""
        self.trusted = dict(self.partial.digests())
        if table := self.table:
            self.trusted.update(table.all())
        else:
            self.holes = {}

    def tally(self, node: str) -> ParentTally:
        return self.tallies.setdefault(node, ParentTally())

    def parent_reports(self, now: float) -> tuple[ParentReport, ...]:
        """How parents served since the last report; parents without a request out are forgotten."""
        reports = tuple(tally.drain(node, now) for node, tally in self.tallies.items())
        self.tallies = {node: tally for node, tally in self.tallies.items() if tally.outstanding}
        return reports

    def hold(self) -> None:
        """A transfer starts to use the partial's descriptor."""
        self.outstanding += 1
        self.idle.clear()

    def release(self) -> None:
        self.outstanding -= 1
        if not self.outstanding:
            self.idle.set()

    def note(self, sentence: str) -> None:
        if not self.notes or self.notes[-1] != sentence:
            self.notes.append(sentence)

    def note_detour(self, node: str, reason: str) -> None:
        """A piece came over TCP where RDMA was meant to bring it; told once for each reason."""
        self.detour = reason
        sentence = f"Pieces of {self.path} from node {node} came over TCP instead of RDMA: {reason}"
        if sentence not in self.notes:
            self.notes.append(sentence)

    def arrived(self, piece: int) -> None:
        """A piece came from a parent and is right. A control plane that was started again since its digest was known
        has to be told it: what nobody can verify would be read from the origin again."""
        self.have_changed = True
        if piece not in self.published and piece in self.trusted:
            self.published.add(piece)
            self.verified.append(PieceDigest(piece, self.trusted[piece]))

    def verifiable(self, pieces: PieceSet) -> PieceSet:
        """Of `pieces`, those whose content can be proven on arrival."""
        return pieces if self.self_proving else pieces & PieceSet.of(self.trusted)

    def start_again(self) -> None:
        """The partial file was emptied: nothing is known about the shard's pieces any more."""
        self.starts += 1
        self.trust_again()
        self.published.clear()
        self.verified.clear()
        self.peer_bytes.clear()
        self.rdma_bytes = 0
        self.holes = {}
        self.reused_bytes = self.local_bytes = self.origin_bytes = 0
        self.have_changed = True

    @property
    def from_origin(self) -> int:
        """Bytes read from the origin so far, running leases included."""
        return self.origin_bytes + sum(read.bytes for read in self.reads)

    def progress(self) -> ShardProgress:
        origin, peers = self.from_origin, self.peer_bytes.total()
        size = self.wanted_bytes
        done = min(size, self.local_bytes + origin + peers)
        return ShardProgress(
            self.path,
            self.shard.digest,
            size,
            done,
            origin,
            peers,
            self.local_bytes,
            complete=False,
            rdma=self.rdma_bytes,
            reused=self.reused_bytes,
        )


def total(ranges: Ranges) -> int:
    """Bytes."""
    return sum(stop - start for start, stop in ranges)
