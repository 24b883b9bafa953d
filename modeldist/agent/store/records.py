"""Which artifacts the store knows, what references meant, what is pinned. Safe between threads and processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from modeldist.agent.store.atomic import sync_directory, write_atomically
from modeldist.agent.store.failures import naming
from modeldist.agent.store.locks import FileLock, lock
from modeldist.agent.store.places import Places, file_name
from modeldist.artifact import Artifact, Digest, OriginKind
from modeldist.errors import UNDECODABLE, NotFound

T = TypeVar("T")


class SnapshotAt(msgspec.Struct, frozen=True):
    """A snapshot that was materialised: under which hub directory, repository and revision."""

    hub: str
    repo_id: str
    revision: str


class Record(msgspec.Struct, frozen=True):
    """artifacts/<digest>.json"""

    artifact: Artifact
    snapshots: tuple[SnapshotAt, ...] = ()

    @property
    def sparse(self) -> set[Digest]:
        """Shards of which it wants ranges only."""
        files = self.artifact.files
        return {file.digest for file in files} - {file.digest for file in files if not file.ranges}


class Reference(msgspec.Struct, frozen=True):
    """refs/<quoted reference>: what `reference` meant. All but the files, which the artifact's record has: one
    manifest may be known by several names and tags."""

    reference: str
    digest: Digest
    pinned_reference: str
    name: str
    tag: str
    revision: str
    repo_id: str
    origin: OriginKind
    endpoint: str
    repository: str
    approved: str = ""

    @classmethod
    def to(cls, artifact: Artifact, reference: str) -> Reference:
        return cls(
            reference=reference,
            digest=artifact.digest,
            pinned_reference=artifact.reference,
            name=artifact.name,
            tag=artifact.tag,
            revision=artifact.revision,
            repo_id=artifact.repo_id,
            origin=artifact.origin,
            endpoint=artifact.endpoint,
            repository=artifact.repository,
            approved=artifact.approved,
        )

    def seen_in(self, artifact: Artifact) -> Artifact:
        return msgspec.structs.replace(
            artifact,
            reference=self.pinned_reference,
            name=self.name,
            tag=self.tag,
            revision=self.revision,
            repo_id=self.repo_id,
            origin=self.origin,
            endpoint=self.endpoint,
            repository=self.repository,
            approved=self.approved,
        )


class StoredArtifact(msgspec.Struct, frozen=True):
    """One line of `modeldist ls`. `bytes_on_disk` counts the complete shards, and what is here of those of which
    ranges are wanted; `last_used` is in epoch seconds."""

    artifact: Artifact
    references: tuple[str, ...]
    snapshot: Path | None
    bytes_on_disk: int
    last_used: float
    pinned: bool


class Records:
    """Artifacts, references and pins of one store. Unreadable files count as absent: they are made again by a pull."""

    def __init__(self, places: Places, clock: Callable[[], float]) -> None:
        self._places = places
        self._clock = clock
        self._record = msgspec.json.Decoder(Record)
        self._reference = msgspec.json.Decoder(Reference)

    # --- artifacts ---

    def get(self, digest: Digest) -> Record | None:
        return _read(self._places.artifact(digest), self._record)

    def all(self) -> list[Record]:
        found = (_read(path, self._record) for path in sorted(self._places.artifacts.glob("*.json")))
        return [record for record in found if record is not None]

    def put(self, artifact: Artifact, reference: str) -> None:
        """`reference` means `artifact` now. Raises StorageError."""
        with naming("record an artifact", self._places.root), self._editing():
            old = self.get(artifact.digest)
            if old is None or (old.artifact.files, old.artifact.chunks) != (artifact.files, artifact.chunks):
                self._write(Record(artifact, old.snapshots if old else ()))
            self._touch(self._places.artifact(artifact.digest))
            path = self._places.reference(reference)
            meant = Reference.to(artifact, reference)
            if _read(path, self._reference) != meant:
                write_atomically(path, msgspec.json.encode(meant), tmp=self._places.tmp, durable=True)
            self._touch(path)

    def add_snapshot(self, artifact: Artifact, snapshot: SnapshotAt) -> None:
        with self._editing():
            old = self.get(artifact.digest) or Record(artifact)
            if snapshot not in old.snapshots:
                self._write(Record(old.artifact, (*old.snapshots, snapshot)))
            elif not self._places.artifact(artifact.digest).exists():
                self._write(old)
        self.use(artifact.digest)

    def forget(self, digest: Digest) -> None:
        """Drop the artifact and every reference to it."""
        with self._editing():
            for reference in self.references():
                if reference.digest == digest:
                    self._places.reference(reference.reference).unlink(missing_ok=True)
            sync_directory(self._places.refs)  # a reference to nothing would stay for ever
            self._places.artifact(digest).unlink(missing_ok=True)
            sync_directory(self._places.artifacts)

    def use(self, digest: Digest) -> None:
        """The artifact is used now. Costs one system call; a store that cannot be written is used all the same."""
        with suppress(OSError):
            self._touch(self._places.artifact(digest))

    def last_used(self, digest: Digest) -> float:
        return _mtime(self._places.artifact(digest)) or 0.0

    # --- references ---

    def lookup(self, reference: str) -> Artifact | None:
        found = _read(self._places.reference(reference), self._reference) or self._pinned(reference)
        record = self.get(found.digest) if found else None
        return found.seen_in(record.artifact) if found and record else None

    def _pinned(self, reference: str) -> Reference | None:
        """What a reference by content means that was only recorded under a tag so far."""
        if "@" not in reference:
            return None
        same = (found for found in self.references() if found.pinned_reference == reference)
        return next((msgspec.structs.replace(found, reference=reference, tag="") for found in same), None)

    def checked(self, reference: str) -> float | None:
        """When the reference was last recorded, in seconds since the epoch."""
        return _mtime(self._places.reference(reference))

    def references(self) -> list[Reference]:
        found = (_read(path, self._reference) for path in sorted(self._places.refs.iterdir()))
        return [reference for reference in found if reference is not None]

    def drop(self, reference: str) -> Digest:
        """Forget the reference and its pin; the artifact it meant. Raises NotFound.

        An artifact's digest or pinned reference stands for all references to it: a moved tag leaves artifacts that no
        reference means any more.
        """
        if (digest := self._by_content(reference)) is not None:
            for found in self.references():
                if found.digest == digest:
                    self._drop(found.reference)
            return digest
        digest = self.meant(reference)
        self._drop(reference)
        return digest

    def meant(self, reference: str) -> Digest:
        """The artifact a reference meant when it was last recorded, its digest and its pinned reference included.
        Raises NotFound."""
        if (digest := self._by_content(reference)) is not None:
            return digest
        if (found := _read(self._places.reference(reference), self._reference)) is None:
            raise _unknown(reference, self._places.root)
        return found.digest

    def _by_content(self, reference: str) -> Digest | None:
        known = (record.artifact for record in self.all())
        return next((each.digest for each in known if reference in (each.digest, each.reference)), None)

    def _drop(self, reference: str) -> None:
        self._places.pin(reference).unlink(missing_ok=True)
        sync_directory(self._places.pins)  # a pin of nothing would pin what is pulled by that name later
        self._places.reference(reference).unlink(missing_ok=True)
        sync_directory(self._places.refs)

    def listed(self) -> list[tuple[Record, tuple[str, ...], bool]]:
        """Every artifact with its references and whether it is pinned."""
        references = self.references()
        pinned = self.pinned_artifacts()
        return [
            (
                record,
                tuple(found.reference for found in references if found.digest == record.artifact.digest),
                record.artifact.digest in pinned,
            )
            for record in self.all()
        ]

    # --- pins ---

    def pin(self, reference: str) -> None:
        """A digest or a pinned reference stands for all references to it, as in `drop`."""
        if not (names := self._names(reference)):
            raise _unknown(reference, self._places.root)
        with naming("pin", self._places.pins):
            for name in names:
                self._places.pin(name).touch()
            sync_directory(self._places.pins)

    def unpin(self, reference: str) -> None:
        with naming("unpin", self._places.pins):
            for name in {reference, *self._names(reference)}:
                self._places.pin(name).unlink(missing_ok=True)
            sync_directory(self._places.pins)

    def _names(self, reference: str) -> list[str]:
        if (digest := self._by_content(reference)) is not None:
            return [found.reference for found in self.references() if found.digest == digest]
        return [reference] if self.checked(reference) is not None else []

    def pinned(self) -> set[str]:
        """File names of pinned references."""
        return {path.name for path in self._places.pins.iterdir()}

    def pinned_artifacts(self) -> set[Digest]:
        pinned = self.pinned()
        return {found.digest for found in self.references() if file_name(found.reference) in pinned}

    def _write(self, record: Record) -> None:
        path = self._places.artifact(record.artifact.digest)
        write_atomically(path, msgspec.json.encode(record), tmp=self._places.tmp, durable=True)

    def _touch(self, path: Path) -> None:
        now = self._clock()
        os.utime(path, (now, now))

    def _editing(self) -> FileLock:
        return lock(self._places.artifacts / "lock")


def _read(path: Path, decoder: msgspec.json.Decoder[T]) -> T | None:
    try:
        return decoder.decode(path.read_bytes())
    except (OSError, *UNDECODABLE):
        return None


def _mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _unknown(reference: str, root: Path) -> NotFound:
    return NotFound(f"{reference} is not in the store at {root}.", remedy="`modeldist ls` shows what is.")
