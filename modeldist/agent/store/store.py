"""The store: the one door to everything under its root."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modeldist.agent.store.atomic import sync_directory, sync_tree, unique, write_once
from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.failures import ShardLocked, naming
from modeldist.agent.store.formats import FORMATS, Formats
from modeldist.agent.store.hub import Hub
from modeldist.agent.store.live import Lease, Live, Reservation
from modeldist.agent.store.places import Places
from modeldist.agent.store.records import Record, Records, SnapshotAt, StoredArtifact
from modeldist.agent.store.unpacking import unpacked_bytes
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import StoreNotWritable
from modeldist.logger import Logger
from modeldist.scheduler.pieces import PieceLayout, piece_size_for

if TYPE_CHECKING:
    from modeldist.agent.store.audit import Audit, Auditor, OnBytes
    from modeldist.agent.store.collector import Collector, GcReport, Removed
    from modeldist.agent.store.directory import Directory
    from modeldist.agent.store.known_cuts import KnownCuts
    from modeldist.agent.store.opening import Opener
    from modeldist.agent.store.partial import Partial
    from modeldist.agent.store.piece_tables import PieceTables
    from modeldist.agent.store.room import Fill, OnEvicted, Rooms
    from modeldist.agent.store.scrubbing import Scrubber
    from modeldist.agent.store.sparse_shards import SparseShard
    from modeldist.agent.store.taking_in import ReadWhole, Taken
    from modeldist.agent.store.watermarks import Watermarks

log = Logger(__name__)

_NODE_ID = re.compile(r"[0-9a-f]{32}")


class Store:
    """Every method blocks and is thread-safe; several processes may have stores open on one root.

    `root` and `hub` are absolute; `node_id` is 32 hex digits and stays the same for this root.
    Any method may raise StorageError, StoreNotWritable or NotEnoughSpace.
    """

    def __init__(self, places: Places, hub: Path, node_id: str, clock: Callable[[], float]) -> None:
        self.root = places.root
        self.hub = hub
        self.node_id = node_id
        self._places = places
        self._clock = clock
        self._live = Live(places.live)
        self._blobs = Blobs(places, self._live.gate, clock)
        self._records = Records(places, clock)
        self._hub = Hub(hub, self._blobs, self.sparse, reserve=lambda size: self._live.reserve(size, hub, shards=False))
        self.watermarks: Watermarks | None = None
        """Set by who wants models evicted for new ones."""
        self._making = threading.Lock()
        self._opener: Opener | None = None

    # What fetches, serves and collects is made when first used: a look at what is here must not wait for it.

    @cached_property
    def _piece_tables(self) -> PieceTables:
        from modeldist.agent.store.piece_tables import PieceTables

        return PieceTables(self._places)

    @cached_property
    def cuts(self) -> KnownCuts:
        """Where the content of complete shards may be cut."""
        from modeldist.agent.store.known_cuts import KnownCuts

        return KnownCuts(self._places, self._blobs)

    @cached_property
    def _collector(self) -> Collector:
        from modeldist.agent.store.collector import Collector

        return Collector(self._places, self._blobs, self._records, self._live, self.hub, self._clock)

    @cached_property
    def _auditor(self) -> Auditor:
        from modeldist.agent.store.audit import Auditor

        return Auditor(self._places, self._blobs, self._records, self._live)

    def _fetching(self) -> tuple[Opener, Directory]:
        """Made once, whichever thread comes first: partials are known to one directory."""
        from modeldist.agent.store.directory import Directory
        from modeldist.agent.store.opening import Opener

        with self._making:
            if self._opener is None:
                self._known = Directory(self._blobs, self._piece_tables, self.sparse)
                self._opener = Opener(
                    self._places,
                    self._blobs,
                    spend=self._live.spend,
                    tell=self._known.tell,
                    on_close=self._known.closed,
                )
            return self._opener, self._known

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        hub: Path | None = None,
        clock: Callable[[], float] = time.time,
        formats: Formats = FORMATS,
        tell: Callable[[str], object] = log.warning,
    ) -> Store:
        """Open the store at `root`, making it if it is not there, and migrating it where it has an older one of
        `formats`, of which `tell` is told. `clock` gives seconds since the epoch.

        Raises StoreNotWritable, StorageError (made by a newer program, or in use while it is to be migrated).
        """
        places = Places(root.expanduser().absolute())
        hub = hub.expanduser().absolute() if hub else places.root / "hub"
        _check_text(places.root, hub)
        formats.refuse(places)
        with naming("open the store", places.root):
            places.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (*places.folders(), hub):
                folder.mkdir(parents=True, exist_ok=True)
            if not places.version.exists():  # the folders of a new store outlive a crash, as what is published in them
                sync_tree(places.root)
                sync_directory(places.root.parent)
            formats.check(places, tell)
            node_id = write_once(
                places.node_id, unique(), places.tmp, damaged=lambda text: not _NODE_ID.fullmatch(text)
            )
        return cls(places, hub, node_id, clock)

    def close(self) -> None:
        """Partials must be closed; leases and reservations end on their own."""
        if self._opener is not None:
            self._opener.close()

    # --- shards ---

    def has(self, digest: Digest) -> bool:
        return self._blobs.file(digest) is not None

    def path(self, digest: Digest) -> Path | None:
        """The complete blob, found by any of its digests; None when it is not complete. Hold a lease while using it."""
        return self._blobs.path(digest)

    def sparse(self, digest: Digest) -> SparseShard | None:
        """What is here of a shard of which ranges were selected, and `Partial.settle` was called; None when it is
        complete, or that never was."""
        if self.has(digest):
            return None
        from modeldist.agent.store.sparse_shards import sparse_shard

        return sparse_shard(self._places, digest)

    def begin(self, shard: Shard, piece_size: int, ranges: tuple[tuple[int, int], ...] = ()) -> Partial:
        """Create or resume the partial file of a shard, cut into pieces of `piece_size` bytes, or as it was cut before.
        Disk is taken for the pieces that have bytes of `ranges` (half-open), or for all where there are none.

        Resuming checks every piece of the journal against the file first. When another process completed the shard in
        the meantime, the Partial has every piece and commit() only returns the digest. Raises ShardLocked when another
        Partial, here or in another process, has it.
        """
        opener, directory = self._fetching()
        partial = opener.begin(shard, piece_size, ranges)
        directory.opened(partial)
        return partial

    def suitable(self, shards: Iterable[Shard]) -> set[Digest]:
        """Those that `take_in` takes: small ones, none of them begun in a way that lasts, where the filesystem has
        files without a name."""
        return self._fetching()[0].taking_in.suitable(shards)

    def take_in(self, shards: Iterable[Shard], read: ReadWhole) -> list[Taken]:
        """Have `read` bring suitable shards, each as soon as it is drawn from `shards`, and make those that are what
        their digests say blobs, all with one wait for the disk: what became of each. One that another process has
        meanwhile is not read.

        What `read` raises, and ShardLocked, is of that shard alone. Raises StorageError when none can be published.
        """
        return self._fetching()[0].taking_in.take_in(shards, read)

    def keep_piece_digests(self, partial: Partial) -> None:
        """After commit(): remember the piece digests, for children of this node after its restart."""
        if content := self._blobs.sha256(partial.digest):
            self._piece_tables.put(content, partial.layout, partial.digests())

    def piece_digests(self, digest: Digest) -> tuple[int, dict[int, bytes]] | None:
        """(piece size, BLAKE3 by piece) of a complete shard; None when none are kept."""
        content = self._blobs.sha256(digest)
        return self._piece_tables.get(content) if content else None

    def rest(self) -> None:
        """After the last commit() for a while: give back what only many of them need."""
        if self._opener is not None:
            from modeldist.agent.store.sync_many import give_back

            give_back()

    def wait_unlocked(self, digest: Digest, timeout: float) -> bool:
        """Wait up to `timeout` seconds until no Partial of the shard is open anywhere. Whether that came true."""
        return self._fetching()[0].wait_unlocked(digest, timeout)

    def missing_bytes(self, artifact: Artifact) -> int:
        """What a pull would still allocate for shards: those missing, less what their partial files have."""
        return self._still_to_allocate(artifact, (shard for shard in artifact.shards if not self.has(shard.digest)))

    def _still_to_allocate(self, artifact: Artifact, missing: Iterable[Shard]) -> int:
        """Bytes."""
        size = 0
        begun = {path.name for path in self._places.partials.iterdir()}
        for shard in missing:
            wanted = shard.size
            if ranges := artifact.ranges_of(shard.digest):
                cut = PieceLayout(shard.size, piece_size_for(shard.size))  # about as its swarm will
                there = found.ranges if (found := self.sparse(shard.digest)) else ()
                wanted = cut.bytes_of(cut.touching(ranges) - cut.touching(there))
            elif begun and (folder := self._places.partial(shard.digest)).name in begun:
                wanted -= min(shard.size, _allocated(folder / "data"))
            size += wanted
        return size

    def reserve(self, size: int) -> Reservation:
        """Claim `size` bytes of disk, counting what all processes have claimed; begin() takes what it allocates off it.

        Raises NotEnoughSpace.
        """
        return self._live.reserve(size, self.root)

    def reserve_for(
        self, artifact: Artifact, shards: Iterable[Shard], *, evicted: OnEvicted = lambda _: None
    ) -> Reservation:
        """Claim what `shards`, which are missing of the artifact, will take, when its archives fit unpacked too, as far
        as that can be known before they are here; `materialise` then claims file by file. With watermarks, others are
        evicted where need be, of which `evicted` is told. Raises NotEnoughSpace.
        """
        missing, unpacked = self._still_to_allocate(artifact, shards), unpacked_bytes(artifact)
        one_disk = not unpacked or self.hub.stat().st_dev == self.root.stat().st_dev
        if self.watermarks is None or not (coming := missing + (unpacked if one_disk else 0)):
            return self._claimed(missing, unpacked, one_disk)
        with self._live.making_room():
            self._rooms(self.watermarks).make(artifact, coming, evicted)
            return self._claimed(missing, unpacked, one_disk)

    def _claimed(self, missing: int, unpacked: int, one_disk: bool) -> Reservation:
        if unpacked:
            self._live.reserve(unpacked + (missing if one_disk else 0), self.hub, shards=False).release()
        return self.reserve(missing)

    def _rooms(self, marks: Watermarks) -> Rooms:
        from modeldist.agent.store.room import Rooms

        return Rooms(self.root, marks, self._live, self._collector)

    def fill(self) -> Fill:
        """How full it is, as its watermarks count; its disk, without any."""
        from modeldist.agent.store.room import disk_fill

        return disk_fill(self.root) if self.watermarks is None else self._rooms(self.watermarks).fill()

    def put_bytes(self, data: bytes) -> Digest:
        return self._blobs.put_bytes(data)

    def import_file(self, path: Path) -> Digest:
        """Store a copy of a file."""
        return self._blobs.import_file(path)

    def lease(self, digests: Iterable[Digest], artifact: Digest | None = None) -> Lease:
        """Until it ends, no process's collector removes these shards, complete or partial. Take it before has(). Those
        of `artifact`: others that share some of them may go. Without it no artifact that has one of them does."""
        return self._live.lease(digests, artifact)

    def directory(self) -> Directory:
        """What the piece server may read: complete blobs and this store's open Partials."""
        return self._fetching()[1]

    # --- artifacts and references ---

    def record(self, artifact: Artifact, reference: str) -> None:
        """`reference` means `artifact` as of now."""
        with naming("record an artifact", self.root), self._live.gate():
            self._records.put(artifact, reference)

    def lookup(self, reference: str) -> Artifact | None:
        """What the reference meant when it was last recorded."""
        return self._records.lookup(reference)

    def checked(self, reference: str) -> float | None:
        """When it was last recorded, in seconds since the epoch."""
        return self._records.checked(reference)

    def artifact(self, digest: Digest) -> Artifact | None:
        record = self._records.get(digest)
        return record.artifact if record else None

    def known(self) -> list[Artifact]:
        """Every artifact it knows, the last used first."""
        found = [record.artifact for record in self._records.all()]
        return sorted(found, key=lambda artifact: -self._records.last_used(artifact.digest))

    def snapshot(self, artifact: Artifact) -> Path | None:
        """The snapshot directory if it is complete (every file there, with its size). Counts as a use."""
        found = self._hub.complete(artifact)
        if found is not None:
            self._records.use(artifact.digest)
        return found

    def use(self, artifact: Digest) -> None:
        """It is used now, though nobody asked for its snapshot. One system call."""
        self._records.use(artifact)

    def holds(self, artifact: Artifact) -> bool:
        """Whether its snapshot is here or can be made of what is here."""
        return self.snapshot(artifact) is not None or all(self.has(shard.digest) for shard in artifact.shards)

    def refer(self, artifact: Artifact) -> None:
        """Have the tag of an artifact whose snapshot is complete name it in the hub. Costs one read when it does."""
        if not self._hub.is_named(artifact):
            with naming("name a snapshot", self.hub), self._live.gate():
                self._hub.name(artifact)

    def materialise(self, artifact: Artifact) -> Path:
        """Make the snapshot directory, or repair it, and return it. All shards must be complete, but those of which
        files want `ranges`: these are sparse files where no more is here. Idempotent, atomic.

        Its files are read-only: a hard link to the store's blob where the filesystem allows.
        """
        self._hub.check_place(artifact)
        at = SnapshotAt(str(self.hub), artifact.repo_id, artifact.revision)
        with naming("make a snapshot", self.root), self._live.gate():
            with naming("record a snapshot", self.root):  # before there is any of it, or rm might not know of it
                self._records.add_snapshot(artifact, at)
            return self._hub.materialise(artifact)

    def artifacts(self) -> list[StoredArtifact]:
        """Everything recorded, the least recently used first."""
        found = [
            StoredArtifact(
                artifact=record.artifact,
                references=references,
                snapshot=self._snapshot_of(record),
                bytes_on_disk=self._bytes_of(record),
                last_used=self._records.last_used(record.artifact.digest),
                pinned=pinned,
            )
            for record, references, pinned in self._records.listed()
        ]
        return sorted(found, key=lambda stored: stored.last_used)

    def _bytes_of(self, record: Record) -> int:
        size = sum(self._blobs.size(shard.digest) or 0 for shard in record.artifact.shards)
        return size + sum(found.bytes for digest in record.sparse if (found := self.sparse(digest)) is not None)

    def _snapshot_of(self, record: Record) -> Path | None:
        """One artifact may be laid out under several names: the first complete one."""
        for at in record.snapshots:
            if at.hub == str(self.hub):
                named = msgspec.structs.replace(record.artifact, repo_id=at.repo_id, revision=at.revision)
                if (found := self._hub.complete(named)) is not None:
                    return found
        return None

    # --- verifying ---

    def audit(self, references: Iterable[str] = (), *, on_bytes: OnBytes = lambda _: None) -> Audit:
        """Read again what `references` mean, or everything, and compare it with its digests. Raises NotFound."""
        return self._auditor.look(tuple(references), on_bytes)

    def remove_damaged(self, audit: Audit) -> None:
        """So that a pull brings it again: the damaged files, and the names that snapshots have for them."""
        self._auditor.remove(audit)

    @cached_property
    def scrubber(self) -> Scrubber:
        """What reads everything again in the background."""
        from modeldist.agent.store.scrubbing import Scrubber

        return Scrubber(self._places, self._auditor, self._records, self._recheck_part, self._clock)

    def _recheck_part(self, part: SparseShard) -> None:
        with suppress(ShardLocked):  # a pull that has it open proves what it has at its end
            self.begin(Shard(part.digest, part.layout.size), part.layout.piece_size, part.ranges).close()

    def damaged(self, audit: Audit) -> list[Digest]:
        """The artifacts that want again what an audit found."""
        found = [self._records.meant(each.references[0]) for each in audit.damages if each.references]
        return list(dict.fromkeys([*found, *self._auditor.wanted_by({each.digest for each in audit.damages})]))

    def laid_out(self, digest: Digest) -> list[Artifact]:
        """The artifact as each snapshot in this hub shows it, without a tag."""
        record = self._records.get(digest)
        if record is None:
            return []
        return [
            msgspec.structs.replace(record.artifact, repo_id=at.repo_id, revision=at.revision, tag="")
            for at in record.snapshots
            if at.hub == str(self.hub)
        ]

    # --- removing ---

    def pin(self, reference: str) -> None:
        """The collector leaves what `reference` means alone, whatever it means later. Raises NotFound."""
        self._records.pin(reference)

    def unpin(self, reference: str) -> None:
        self._records.unpin(reference)

    def pinned(self, reference: str) -> bool:
        """Whether the artifact that `reference` means is pinned, by whatever reference. Raises NotFound."""
        return self._records.meant(reference) in self._records.pinned_artifacts()

    def remove(self, reference: str) -> Removed:
        """Forget a reference and its pin; with the last one go the artifact, its snapshots and its blobs, except blobs
        that other artifacts or live processes use. Raises NotFound."""
        return self._collector.remove(reference)

    def gc(self, *, target_free: int | None = None, max_age: float | None = None, dry_run: bool = False) -> GcReport:
        """Remove what nobody needs: blobs of no artifact, partial files untouched for 7 days, scratch files of a day.

        With `max_age` (seconds) also artifacts unused for that long; with `target_free` (bytes) the least recently
        used ones until so much is free. Never what is pinned or what a live process leases. `dry_run` only reports.
        """
        return self._collector.collect(target_free=target_free, max_age=max_age, dry_run=dry_run)


def _check_text(*paths: Path) -> None:
    """Paths are recorded and sent as text."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise StoreNotWritable(
                f"The path {str(path)!a} is not UTF-8.", remedy="Choose a directory whose path is."
            ) from None


def _allocated(path: Path) -> int:
    """Bytes of disk the file takes."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
