"""Removing: one reference (`rm`), whatever nobody needs (`gc`), the least recently used for a pull (`evict`).

Runs with the gate closed: no process can record, materialise or publish a blob meanwhile, nor take a lease. What a live
process leases stays. A blob of no artifact stays for a while, because a pull may be about to record it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.eviction import Holding, choose
from modeldist.agent.store.failures import free_bytes, naming
from modeldist.agent.store.homes import leave
from modeldist.agent.store.hub import Repository, hub_name
from modeldist.agent.store.live import Live
from modeldist.agent.store.locks import try_lock
from modeldist.agent.store.places import Places
from modeldist.agent.store.records import Record, Records
from modeldist.agent.store.staying import Staying
from modeldist.agent.store.watermarks import ToFree
from modeldist.agent.store.withdrawal import own_bytes, remove_empty, withdraw
from modeldist.artifact import Artifact, Digest

DAY = 86_400.0  # seconds
PARTIAL_AGE = 7 * DAY
SCRATCH_AGE = DAY
ORPHAN_AGE = 3_600.0
PRESSED_AGE = DAY  # of partial files, when room is needed


@dataclass(frozen=True)
class Removed:
    """What `rm` did: bytes of disk freed, and the artifacts that are gone (none while another reference has them)."""

    bytes_freed: int
    artifacts: tuple[Digest, ...]


@dataclass(frozen=True)
class GcReport:
    """What gc removed, or would remove: bytes of disk, artifacts, and numbers of blobs, partials and scratch files."""

    bytes_freed: int
    artifacts: tuple[Artifact, ...]
    blobs: int
    partials: int
    scratch: int


@dataclass(frozen=True)
class Evicted:
    """An artifact that went to make room: the bytes of disk that freed; `last_used` in epoch seconds."""

    artifact: Artifact
    references: tuple[str, ...]
    bytes: int
    last_used: float


@dataclass(frozen=True)
class Kept:
    """An artifact that does not go, and why: a sentence of which it is the subject. Its bytes, as far as they are its
    own."""

    artifact: Artifact
    references: tuple[str, ...]
    bytes: int
    why: str


@dataclass(frozen=True)
class Room:
    """What making room came to: `freed` bytes in all, left-overs included. `kept` is told where that was not enough;
    then no artifact went, and `possible` bytes are the most there was."""

    evicted: tuple[Evicted, ...]
    freed: int
    kept: tuple[Kept, ...] = ()
    possible: int = 0


@dataclass
class _Tally:
    bytes: int = 0
    blobs: int = 0
    partials: int = 0
    scratch: int = 0
    artifacts: list[Artifact] = field(default_factory=list)


class Collector:
    """Removes from one store. Each call closes the gate."""

    def __init__(
        self, places: Places, blobs: Blobs, records: Records, live: Live, hub: Path, clock: Callable[[], float]
    ) -> None:
        self._places = places
        self._blobs = blobs
        self._records = records
        self._live = live
        self._hub = hub
        self._clock = clock

    def remove(self, reference: str) -> Removed:
        """Forget a reference, and its artifact if that was the last one. Raises NotFound, StorageError."""
        with naming("remove", self._places.root), self._live.closed_gate():
            digest = self._records.drop(reference)
            record = self._records.get(digest)
            if record is None or any(other.digest == digest for other in self._records.references()):
                return Removed(0, ())
            tally = _Tally()
            self._drop_with_content(record, tally)
            return Removed(tally.bytes, (digest,))

    def collect(self, *, target_free: int | None, max_age: float | None, dry_run: bool) -> GcReport:
        """See Store.gc."""
        with naming("collect garbage", self._places.root), self._live.closed_gate():
            tally = _Tally()
            self._collect_scratch(tally, dry_run)
            kept = self._records.all()
            self._collect_partials(self._sparse(kept), PARTIAL_AGE, tally, dry_run)
            leased = self._leased()
            staying = Staying(self._places, self._blobs, self._records, self._live)
            doomed = self._too_old(kept, staying, max_age)
            garbage = self._garbage(kept, doomed, leased)
            if target_free is not None:
                wanted = target_free - free_bytes(self._places.root) - tally.bytes
                wanted -= sum(map(self._size, garbage)) + sum(map(self._own, doomed)) + self._sparse_bytes(kept, doomed)
                chosen, _ = self._choose(self._without(kept, doomed), wanted, staying, leased)
                doomed += chosen
                garbage = self._garbage(kept, doomed, leased)
            for record in doomed:
                self._drop_artifact(record, tally, dry_run)
            for content in garbage:
                self._drop_blob(content, tally, dry_run)
            self._drop_sparse(self._sparse_garbage(kept, doomed), tally, dry_run)
            if not dry_run:
                self._drop_dangling_aliases()
        return GcReport(tally.bytes, tuple(tally.artifacts), tally.blobs, tally.partials, tally.scratch)

    def evict(self, need: ToFree, *, last: str = "") -> Room:
        """Left-overs first, then the least recently used artifacts, those called `last` after all others."""
        with naming("make room", self._places.root), self._live.closed_gate():
            tally = _Tally()
            self._collect_scratch(tally, dry_run=False)
            kept = self._records.all()
            self._collect_partials(self._sparse(kept), PRESSED_AGE, tally, dry_run=False)
            leased = self._leased()
            for content in self._garbage(kept, [], leased):
                self._drop_blob(content, tally)
            staying = Staying(self._places, self._blobs, self._records, self._live)
            chosen, possible = self._choose(kept, need.wanted - tally.bytes, staying, leased, last)
            if tally.bytes + possible < need.least:
                return Room((), tally.bytes, self._kept(kept, staying), tally.bytes + possible)
            gone = tuple(self._evicted(record, tally) for record in chosen)
            self._drop_dangling_aliases()
            return Room(gone, tally.bytes)

    def store_bytes(self) -> int:
        """Of disk that the store takes: blobs, partial files, and what was unpacked for snapshots."""
        with naming("look through the store", self._places.root), self._live.gate():
            blobs = sum(path.stat().st_blocks * 512 for _, path in self._blobs.walk())
            partials = sum(map(_disk_bytes, self._places.partials.iterdir()))
            return blobs + partials + sum(map(self._own, self._records.all()))

    def _choose(
        self, records: list[Record], goal: int, staying: Staying, leased: set[Digest], last: str = ""
    ) -> tuple[list[Record], int]:
        """(what goes of `records`, bytes that frees)."""
        by_digest = {record.artifact.digest: record for record in records}
        order = sorted(
            records,
            key=lambda record: (record.artifact.name == last, self._records.last_used(record.artifact.digest)),
        )
        sizes: dict[str, int] = {content: path.stat().st_blocks * 512 for content, path in self._blobs.walk()}
        for digest in self._sparse(records):
            sizes[_part(digest)] = _disk_bytes(self._places.partial(digest))
        chosen, freed = choose(
            [self._holding(record) for record in order],
            (),
            sizes,
            leased | {_part(digest) for digest in self._live.leased()},
            goal,
            lambda digest: not staying.why(by_digest[digest]),
        )
        return [by_digest[digest] for digest in chosen], freed

    def _holding(self, record: Record) -> Holding:
        uses = {*self._contents(record.artifact), *(_part(digest) for digest in record.sparse)}
        return Holding(record.artifact.digest, frozenset(uses), self._own(record))

    def _kept(self, records: list[Record], staying: Staying) -> tuple[Kept, ...]:
        """The largest first."""
        found = [
            Kept(record.artifact, self._references(record), self._bytes_of(record), why)
            for record in records
            if (why := staying.why(record))
        ]
        return tuple(sorted(found, key=lambda kept: -kept.bytes))

    def _bytes_of(self, record: Record) -> int:
        blobs = sum(self._size(content) for content in self._contents(record.artifact) if self._blobs.file(content))
        return blobs + self._own(record) + sum(_disk_bytes(self._places.partial(digest)) for digest in record.sparse)

    def _references(self, record: Record) -> tuple[str, ...]:
        digest = record.artifact.digest
        return tuple(each.reference for each in self._records.references() if each.digest == digest)

    def _evicted(self, record: Record, tally: _Tally) -> Evicted:
        references, last_used = self._references(record), self._records.last_used(record.artifact.digest)
        before = tally.bytes
        self._drop_with_content(record, tally)
        return Evicted(record.artifact, references, tally.bytes - before, last_used)

    # --- what may go ---

    def _too_old(self, records: list[Record], staying: Staying, max_age: float | None) -> list[Record]:
        if max_age is None:
            return []
        limit = self._clock() - max_age
        old = [record for record in records if self._records.last_used(record.artifact.digest) < limit]
        return [record for record in old if not staying.why(record)]

    def _garbage(self, records: list[Record], doomed: list[Record], leased: set[Digest]) -> list[Digest]:
        """Blobs of none of `records` but the doomed; those that no artifact used must be old."""
        keep = self._used(self._without(records, doomed)) | leased
        at_once = self._used(doomed)
        limit = self._clock() - ORPHAN_AGE
        return [
            content
            for content, path in self._blobs.walk()
            if content not in keep and (content in at_once or path.stat().st_mtime < limit)
        ]

    def _contents(self, artifact: Artifact) -> set[Digest]:
        found = (self._blobs.sha256(shard.digest) for shard in artifact.shards)
        return {content for content in found if content is not None}

    def _used(self, records: list[Record]) -> set[Digest]:
        return set().union(*(self._contents(record.artifact) for record in records))

    @staticmethod
    def _sparse(records: list[Record]) -> set[Digest]:
        """Shards whose partial files are behind snapshots."""
        return set().union(*(record.sparse for record in records))

    def _sparse_garbage(self, records: list[Record], doomed: list[Record]) -> set[Digest]:
        """Sparse shards of none of `records` but the doomed."""
        return self._sparse(doomed) - self._sparse(self._without(records, doomed))

    def _sparse_bytes(self, records: list[Record], doomed: list[Record]) -> int:
        return sum(_disk_bytes(self._places.partial(digest)) for digest in self._sparse_garbage(records, doomed))

    def _leased(self) -> set[Digest]:
        """Both as leased and as the sha256 that stands for."""
        leased = self._live.leased()
        contents = (self._blobs.sha256(digest) for digest in leased)
        return leased | {content for content in contents if content is not None}

    @staticmethod
    def _without(records: list[Record], doomed: list[Record]) -> list[Record]:
        gone = {record.artifact.digest for record in doomed}
        return [record for record in records if record.artifact.digest not in gone]

    # --- removing ---

    def _drop_with_content(self, record: Record, tally: _Tally) -> None:
        self._drop_artifact(record, tally)
        used = self._used(self._records.all()) | self._leased()
        for content in self._contents(record.artifact) - used:
            self._drop_blob(content, tally)
        self._drop_sparse(record.sparse - self._sparse(self._records.all()) - self._live.leased(), tally)

    def _drop_artifact(self, record: Record, tally: _Tally, dry_run: bool = False) -> None:
        tally.artifacts.append(record.artifact)
        tally.bytes += self._own(record)
        if dry_run:
            return
        others = self._without(self._records.all(), [record])
        for at in record.snapshots:
            shared = {
                hub_name(self._blobs, file.digest)
                for other in others
                if any((there.hub, there.repo_id) == (at.hub, at.repo_id) for there in other.snapshots)
                for file in other.artifact.files
            }
            names = {hub_name(self._blobs, file.digest) for file in record.artifact.files}
            withdraw(Repository(Path(at.hub), at.repo_id), at.revision, names - shared)
        self._records.forget(record.artifact.digest)

    def _own(self, record: Record) -> int:
        """Bytes of unpacked archives in its snapshots."""
        if all(file.encoding == "raw" for file in record.artifact.files):
            return 0
        folders = (Repository(Path(at.hub), at.repo_id).snapshot(at.revision) for at in record.snapshots)
        return sum(own_bytes(folder) for folder in folders)

    def _size(self, content: Digest) -> int:
        return self._places.blob(content).stat().st_blocks * 512

    def _drop_blob(self, content: Digest, tally: _Tally, dry_run: bool = False) -> None:
        path = self._places.blob(content)
        try:
            found = path.stat()
        except FileNotFoundError:
            return
        tally.blobs += 1
        if dry_run or found.st_nlink == 1:  # otherwise a link somebody made keeps the bytes
            tally.bytes += found.st_blocks * 512
        if not dry_run:
            self._places.piece_table(content).unlink(missing_ok=True)
            self._places.cuts(content).unlink(missing_ok=True)
            path.unlink()

    def _drop_dangling_aliases(self) -> None:
        for digest, path in self._blobs.known_aliases():
            if self._blobs.path(digest) is None:
                path.unlink(missing_ok=True)

    def _collect_partials(self, sparse: set[Digest], age: float, tally: _Tally, dry_run: bool) -> None:
        """Old ones, but those behind snapshots."""
        limit = self._clock() - age
        kept = {digest.replace(":", "-") for digest in self._live.leased() | sparse}
        for folder in sorted(self._places.partials.iterdir()):
            if folder.name not in kept and _newest(folder) < limit:
                self._drop_partial(folder, tally, dry_run)

    def _drop_sparse(self, digests: set[Digest], tally: _Tally, dry_run: bool = False) -> None:
        """Partial files of snapshots that are gone."""
        for folder in sorted(self._places.partial(digest) for digest in digests):
            if folder.is_dir():
                self._drop_partial(folder, tally, dry_run)

    @staticmethod
    def _drop_partial(folder: Path, tally: _Tally, dry_run: bool) -> None:
        """Unless somebody has it open."""
        held = try_lock(folder / "lock", patience=0)
        if held is None:
            return
        tally.partials += 1
        tally.bytes += _disk_bytes(folder)
        if dry_run:
            held.release()
        else:
            leave(folder, held)

    def _collect_scratch(self, tally: _Tally, dry_run: bool) -> None:
        limit = self._clock() - SCRATCH_AGE
        known = (*self._places.cuts_folder.iterdir(), *self._places.piece_tables.iterdir())
        of_nothing = [path for path in known if not self._blobs.file(Digest(f"sha256:{path.name}"))]
        building = list(self._hub.glob("models--*/.building/*"))
        for path in (*self._places.tmp.iterdir(), *of_nothing, *building):
            found = path.lstat()
            if found.st_mtime >= limit:
                continue
            tally.scratch += 1
            tally.bytes += own_bytes(path) if path.is_dir() else found.st_blocks * 512
            if not dry_run:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        for repository in {path.parents[1] for path in building} if not dry_run else ():
            remove_empty(repository)


def _part(digest: Digest) -> str:
    """A shard's partial file, as `Holding.uses` calls it."""
    return f"part of {digest}"


def _disk_bytes(folder: Path) -> int:
    """Of the files in a partial's folder."""
    try:
        return sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    except FileNotFoundError:
        return 0


def _newest(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
