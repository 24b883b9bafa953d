"""Reading again what is here: every shard, and every file of every snapshot, against its digest.

It is read from the disk as far as that can be had: what the kernel has in its cache says nothing about the disk. What
was found damaged can be removed with everything that is the same file, so that the next pull brings it again.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from modeldist.agent.store import trees
from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.buffers import COUNT, blake3_of, chunks
from modeldist.agent.store.failures import naming
from modeldist.agent.store.hub import Repository, hub_name
from modeldist.agent.store.live import Live
from modeldist.agent.store.places import Places
from modeldist.agent.store.records import Record, Records, SnapshotAt
from modeldist.agent.store.sparse_shards import SparseShard, sparse_shard
from modeldist.artifact import ArtifactFile, Digest, algorithm
from modeldist.scheduler.pieces import PieceLayout

OnBytes = Callable[[int], object]
"""Called from any thread with counts of bytes that were read."""

Flaw = Literal["missing", "size", "content", "unreadable"]


class Damage(msgspec.Struct, frozen=True):
    """A file on disk that is not what `digest` says. `file` is its name in the artifact, and `references` are what was
    pulled; both are empty of a shard that no artifact uses."""

    path: str
    digest: Digest
    flaw: Flaw
    file: str = ""
    references: tuple[str, ...] = ()


class InPart(msgspec.Struct, frozen=True):
    """A file of which `bytes` of `size` are here, by selection."""

    path: str
    digest: Digest
    bytes: int
    size: int
    file: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """What was looked at: `files` are names, of which a file has several (in the store, the hub's cache, a snapshot),
    `contents` different files behind them; bytes that were read, and what is wrong. `parts` are files that are here in
    part."""

    files: int
    bytes: int
    damages: tuple[Damage, ...]
    parts: tuple[InPart, ...] = ()
    contents: int = 0


@dataclass(frozen=True)
class _Wanted:
    """A file that must be there. `size` in bytes, None where only the digest is known."""

    path: Path
    digest: Digest
    size: int | None = None
    file: str = ""
    artifact: Digest | None = None
    references: tuple[str, ...] = ()
    part: SparseShard | None = None  # of which only the pieces are there
    ranges: tuple[tuple[int, int], ...] = ()  # that must be

    def damaged(self, flaw: Flaw) -> Damage:
        return Damage(str(self.path), self.digest, flaw, self.file, self.references)

    def as_part(self, part: SparseShard) -> InPart:
        return InPart(str(self.path), self.digest, part.bytes, part.layout.size, self.file, self.references)


class Auditor:
    """Looks at one store; only `remove` changes it."""

    def __init__(self, places: Places, blobs: Blobs, records: Records, live: Live) -> None:
        self._places = places
        self._blobs = blobs
        self._records = records
        self._live = live

    def look(self, references: tuple[str, ...], on_bytes: OnBytes) -> Audit:
        """At what the references mean; at everything where there are none. Raises NotFound, StorageError."""
        with naming("verify", self._places.root):
            wanted = {one.path: one for one in self._wanted(references)}
            flaws: dict[Path, Flaw] = {}
            alike: dict[tuple[int, int, Digest], list[_Wanted]] = {}  # hard links of one file are read once
            size = 0
            for one in wanted.values():
                try:
                    there = one.path.stat()
                except OSError:
                    flaws[one.path] = "missing"
                    continue
                if one.size not in (None, there.st_size):
                    flaws[one.path] = "size"
                    continue
                if one.part is not None and not one.part.covers(one.ranges):
                    flaws[one.path] = "missing"
                    continue
                links = alike.setdefault((there.st_dev, there.st_ino, one.digest), [])
                size += 0 if links else one.part.bytes if one.part else there.st_size
                links.append(one)
            with ThreadPoolExecutor(min(COUNT, os.cpu_count() or 1), thread_name_prefix="verify") as pool:
                read = pool.map(lambda links: _flaw_inside(links[0], on_bytes), alike.values())
                for links, flaw in zip(alike.values(), read, strict=True):
                    if flaw is not None:
                        flaws |= {link.path: flaw for link in links}
            parts = tuple(one.as_part(one.part) for one in wanted.values() if one.part and one.path not in flaws)
            contents = len({one.digest for one in wanted.values()})
            return Audit(len(wanted), size, tuple(self._still_wrong(wanted, flaws)), parts, contents)

    def remove(self, audit: Audit) -> None:
        """What is damaged, and what else is the same file: then no snapshot is taken for complete. Raises StorageError.
        Nobody can publish or make a snapshot meanwhile."""
        with naming("remove what is damaged", self._places.root), self._live.closed_gate():
            gone = {Path(damage.path) for damage in audit.damages}
            contents = {damage.digest for damage in audit.damages if self._places.blob(damage.digest) in gone}
            self._withdraw(contents, gone)

    def withdraw(self, content: Digest, inode: tuple[int, int]) -> bool:
        """As `remove`, of one complete shard, unless another file is in its place now. Raises StorageError."""
        path = self._places.blob(content)
        with naming("remove what is damaged", self._places.root), self._live.closed_gate():
            if inode_of(path) != inode:
                return False
            self._withdraw({content}, {path})
            return True

    def withdraw_part(self, shard: Digest) -> None:
        """As `remove`, the names that snapshots have for a shard of which ranges are here."""
        with naming("remove what is damaged", self._places.root), self._live.closed_gate():
            shown = (
                Repository(Path(at.hub), at.repo_id).snapshot(at.revision) / file.path
                for record in self._records.all()
                for at in record.snapshots
                for file in self._in_part(record)
                if file.digest == shard
            )
            self._withdraw(set(), set(shown))

    def wanted_by(self, contents: Collection[Digest]) -> list[Digest]:
        """The artifacts that have some of these files and are shown by a snapshot, or pinned."""
        pinned = self._records.pinned_artifacts()
        return [
            record.artifact.digest
            for record in self._records.all()
            if (record.snapshots or record.artifact.digest in pinned)
            and any(file.digest in contents or self.content(file.digest) in contents for file in record.artifact.files)
        ]

    def _withdraw(self, contents: set[Digest], gone: set[Path]) -> None:
        for content in contents:
            self._places.piece_table(content).unlink(missing_ok=True)
        for record in self._records.all():
            files = [file for file in record.artifact.files if self.content(file.digest) in contents]
            for at in record.snapshots:
                _withdraw_files(self._blobs, at, files, gone)
        for path in gone:
            path.unlink(missing_ok=True)

    def _still_wrong(self, wanted: dict[Path, _Wanted], flaws: dict[Path, Flaw]) -> Iterator[Damage]:
        """Less what somebody has removed meanwhile."""
        for path, flaw in flaws.items():
            one = wanted[path]
            if path.exists() if one.artifact is None else self._records.get(one.artifact) is not None:
                yield one.damaged(flaw)

    # --- what must be here ---

    def _wanted(self, references: tuple[str, ...]) -> Iterator[_Wanted]:
        meant = {self._records.meant(reference) for reference in references}
        if not references:
            for content, path in self._blobs.walk():
                yield _Wanted(path, content)
        for record, called, _ in self._records.listed():
            if not references or record.artifact.digest in meant:
                yield from self._of_record(record, called, asked=bool(references))

    def _of_record(self, record: Record, references: tuple[str, ...], *, asked: bool) -> Iterator[_Wanted]:
        """`asked`: for this one by name. Else nothing is missing of what programs took a file of and no more."""
        artifact, names = record.artifact, references or (record.artifact.reference,)
        for shard in artifact.shards:
            content = self.content(shard.digest)
            if shard.digest in record.sparse and self._blobs.file(content) is None:
                continue  # what is here of it is in the snapshots
            path = self._places.blob(content) if algorithm(content) == "sha256" else self._places.alias(content)
            if not asked and not record.snapshots and not path.exists():
                continue
            yield _Wanted(path, content, shard.size, artifact.file_of(shard.digest).path, artifact.digest, names)
        for at in record.snapshots:
            repository = Repository(Path(at.hub), at.repo_id)
            if repository.snapshot(at.revision).is_dir():
                for path, name, digest, size in self._of_snapshot(record, repository, at):
                    yield _Wanted(path, digest, size, name, artifact.digest, names)
                for file in self._in_part(record):
                    part = sparse_shard(self._places, file.digest) or _nothing(self._places, file)
                    path = repository.snapshot(at.revision) / file.path
                    yield _Wanted(
                        path, file.digest, file.size, file.path, artifact.digest, names, part, ranges=file.ranges
                    )

    def _in_part(self, record: Record) -> Iterator[ArtifactFile]:
        """The files of its snapshots with holes."""
        for file in record.artifact.files:
            if file.ranges and self._blobs.file(file.digest) is None:
                yield file

    def _of_snapshot(
        self, record: Record, repository: Repository, at: SnapshotAt
    ) -> Iterator[tuple[Path, str, Digest, int | None]]:
        folder = repository.snapshot(at.revision)
        parts = {file.path for file in self._in_part(record)}
        raw = [file for file in record.artifact.files if file.encoding == "raw"]
        for file in (file for file in raw if file.path not in parts):
            content = self.content(file.digest)
            named = () if file.ranges else (repository.blobs / hub_name(self._blobs, file.digest),)
            for path in (*named, folder / file.path):
                yield path, file.path, content, file.size
        if len(raw) < len(record.artifact.files):
            for name, entry in (trees.read(repository.tree(at.revision)) or {}).items():
                yield folder / name, name, trees.digest_of(entry), None

    def content(self, digest: Digest) -> Digest:
        return self._blobs.sha256(digest) or digest


def _withdraw_files(blobs: Blobs, at: SnapshotAt, files: list[ArtifactFile], gone: set[Path]) -> None:
    """Take files out of a snapshot, with the hub's own names of them."""
    repository = Repository(Path(at.hub), at.repo_id)
    folder = repository.snapshot(at.revision)
    inside = [path for path in gone if path.is_relative_to(folder)]
    if not folder.is_dir() or not (files or inside):
        return
    repository.locks.mkdir(parents=True, exist_ok=True)
    with repository.lock_snapshot(at.revision):
        for path in (*(folder / file.path for file in files if file.encoding == "raw"), *inside):
            target = path.resolve()
            path.unlink(missing_ok=True)
            if target.parent == repository.blobs.resolve():
                target.unlink(missing_ok=True)
        for file in files:
            name = hub_name(blobs, file.digest)
            with repository.lock(name):
                (repository.blobs / name).unlink(missing_ok=True)
        if any(file.encoding != "raw" for file in files):
            repository.tree(at.revision).unlink(missing_ok=True)  # else the snapshot counts as complete without it


def inode_of(path: Path) -> tuple[int, int] | None:
    """None where nothing is."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _nothing(places: Places, file: ArtifactFile) -> SparseShard:
    """Of a shard whose partial file is gone."""
    return SparseShard(file.digest, places.partial(file.digest) / "data", PieceLayout(file.size, max(1, file.size)), {})


def _flaw_inside(wanted: _Wanted, on_bytes: OnBytes) -> Flaw | None:
    try:
        if wanted.part is not None:
            return None if _pieces_hold(wanted.path, wanted.part, on_bytes) else "content"
        return None if _digest(wanted.path, algorithm(wanted.digest), on_bytes) == wanted.digest else "content"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        if error.errno in (errno.EIO, errno.EUCLEAN):
            return "unreadable"
        raise


def _pieces_hold(path: Path, part: SparseShard, on_bytes: OnBytes) -> bool:
    """Whether each piece that should be in the file is what its digest says."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for piece, digest in part.digests.items():
            if blake3_of(fd, part.layout.offset(piece), part.layout.length(piece)) != digest:
                return False
            on_bytes(part.layout.length(piece))
    finally:
        os.close(fd)
    return True


def _digest(path: Path, kind: str, on_bytes: OnBytes) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        git = kind == "git-sha1"
        hasher = hashlib.sha1(b"blob %d\x00" % size, usedforsecurity=False) if git else hashlib.sha256()
        for chunk in chunks(fd, 0, size):
            hasher.update(chunk)
            on_bytes(len(chunk))
    finally:
        os.close(fd)
    return f"{kind}:{hasher.hexdigest()}"
