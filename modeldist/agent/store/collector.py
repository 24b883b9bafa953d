"""Removing: one reference (`rm`), or whatever nobody needs (`gc`).

Runs with the gate closed: no process can record, materialise or publish a blob meanwhile, nor take a lease. What a live
process leases stays. A blob of no artifact stays for a while, because a pull may be about to record it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.failures import free_bytes, naming
from modeldist.agent.store.homes import leave
from modeldist.agent.store.hub import Repository, hub_name
from modeldist.agent.store.live import Live
from modeldist.agent.store.locks import try_lock
from modeldist.agent.store.places import Places
from modeldist.agent.store.records import Record, Records
from modeldist.agent.store.withdrawal import own_bytes, remove_empty, withdraw
from modeldist.artifact import Artifact, Digest

DAY = 86_400.0  # seconds
PARTIAL_AGE = 7 * DAY
SCRATCH_AGE = DAY
ORPHAN_AGE = 3_600.0


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
            self._drop_artifact(record, tally)
            used = self._used(self._records.all()) | self._leased()
            for content in self._contents(record.artifact) - used:
                self._drop_blob(content, tally)
            self._drop_sparse(record.sparse - self._sparse(self._records.all()) - self._live.leased(), tally)
            return Removed(tally.bytes, (digest,))

    def collect(self, *, target_free: int | None, max_age: float | None, dry_run: bool) -> GcReport:
        """See Store.gc."""
        with naming("collect garbage", self._places.root), self._live.closed_gate():
            tally = _Tally()
            self._collect_scratch(tally, dry_run)
            kept = self._records.all()
            self._collect_partials(self._sparse(kept), tally, dry_run)
            leased = self._leased()
            doomed = self._too_old(kept, leased, max_age)
            garbage = self._garbage(kept, doomed, leased)
            if target_free is not None:
                wanted = target_free - free_bytes(self._places.root) - tally.bytes
                for record in self._evictable(self._without(kept, doomed), leased):
                    own = sum(map(self._own, doomed)) + self._sparse_bytes(kept, doomed)
                    if sum(map(self._size, garbage)) + own >= wanted:
                        break
                    more = self._garbage(kept, [*doomed, record], leased)
                    own = self._own(record) + self._sparse_bytes(kept, [*doomed, record])
                    if len(more) > len(garbage) or own > self._sparse_bytes(kept, doomed):  # else it shares all it has
                        doomed.append(record)
                        garbage = more
            for record in doomed:
                self._drop_artifact(record, tally, dry_run)
            for content in garbage:
                self._drop_blob(content, tally, dry_run)
            self._drop_sparse(self._sparse_garbage(kept, doomed), tally, dry_run)
            if not dry_run:
                self._drop_dangling_aliases()
        return GcReport(tally.bytes, tuple(tally.artifacts), tally.blobs, tally.partials, tally.scratch)

    # --- what may go ---

    def _too_old(self, records: list[Record], leased: set[Digest], max_age: float | None) -> list[Record]:
        if max_age is None:
            return []
        limit = self._clock() - max_age
        found = self._evictable(records, leased)
        return [record for record in found if self._records.last_used(record.artifact.digest) < limit]

    def _evictable(self, records: list[Record], leased: set[Digest]) -> list[Record]:
        """Artifacts neither pinned nor partly leased, least recently used first."""
        pinned = self._records.pinned_artifacts()
        free = [
            record
            for record in records
            if record.artifact.digest not in pinned and not (self._contents(record.artifact) | record.sparse) & leased
        ]
        return sorted(free, key=lambda record: self._records.last_used(record.artifact.digest))

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

    def _collect_partials(self, sparse: set[Digest], tally: _Tally, dry_run: bool) -> None:
        """Old ones, but those behind snapshots."""
        limit = self._clock() - PARTIAL_AGE
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


def _disk_bytes(folder: Path) -> int:
    """Of the files in a partial's folder."""
    try:
        return sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    except FileNotFoundError:
        return 0


def _newest(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
