"""An OCI image layout: a directory of blobs by digest and an index that names manifests.

oci-layout   index.json   blobs/sha256/<hex>
"""

from __future__ import annotations

import errno
import fcntl
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from modelpack import mediatypes
from modelpack.blobs import BlobDirectory, replace_file
from modelpack.errors import InvalidManifest, LayoutError, ModelPackError
from modelpack.manifest import (
    MAX_MANIFEST_BYTES,
    Descriptor,
    Index,
    Manifest,
    choose_manifest,
    encode_manifest,
    parse_manifest,
)
from modelpack.regular_files import read_regular

if TYPE_CHECKING:
    from modelpack.chunk_table import ChunkTable
    from modelpack.referrers import Attachment

_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_VERSION = 64 * 1024  # bytes of the file oci-layout
_EMPTY = Index(schema_version=2, media_type=mediatypes.OCI_INDEX, manifests=())
_DOCUMENTS = mediatypes.MANIFESTS | mediatypes.INDEXES  # they lead to other blobs
ABOUT_ANOTHER = re.compile(r"sha256-[0-9a-f]{64}(?:\.[a-z]+)?")
"""Tags of referrers where there is no API for them, and of signatures as cosign first wrote them."""
_MOST_NAMES = 8  # that an error lists
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO)  # or there, and no file
Entries = tuple[Descriptor, ...]


class OciLayout:
    """One layout directory. The index is replaced atomically, under a lock, so several processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = BlobDirectory(path / "blobs")

    @classmethod
    def create(cls, path: Path) -> Self:
        """Open the layout at `path`, or make an empty one. Raises LayoutError when something else is there."""
        if (path / "oci-layout").exists():
            return cls.open(path)
        if path.exists() and not _is_unfinished(path):
            if (path / "oci-layout").exists():  # another process has just finished making it
                return cls.open(path)
            raise LayoutError(
                f"{path} is there and no OCI image layout.", remedy="Choose an empty directory or an existing layout."
            )
        (path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        layout = cls(path)
        with layout._locked():
            if not (path / "index.json").exists():
                replace_file(path / "index.json", encode_manifest(_EMPTY))
            replace_file(path / "oci-layout", _VERSION)
        return layout

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing layout. Raises LayoutError, and OSError where a disk fails or it may not be read."""
        try:
            version = msgspec.json.decode(read_regular(path / "oci-layout", _MAX_VERSION))
        except (OSError, ValueError) as problem:
            if isinstance(problem, OSError) and problem.errno not in _NOT_THERE:
                raise
            raise LayoutError(
                f"{path} is no OCI image layout.", remedy="A layout has a file oci-layout and an index.json."
            ) from None
        if not isinstance(version, dict) or not str(version.get("imageLayoutVersion")).startswith("1."):
            raise LayoutError(f"{path} is an OCI image layout of an unknown version.", remedy="Version 1 can be read.")
        return cls(path)

    def index(self) -> Index:
        """What the layout holds. Raises LayoutError, InvalidManifest."""
        try:
            found = parse_manifest(read_regular(self.path / "index.json", MAX_MANIFEST_BYTES))
        except OSError as problem:
            raise LayoutError(f"{self.path} has no readable index.json: {problem.strerror}.") from None
        if isinstance(found, Manifest):
            raise InvalidManifest(f"The index.json of {self.path} is a manifest.")
        return found

    def refs(self) -> dict[str, Descriptor]:
        """Named manifests."""
        return {_name(entry): entry for entry in self.index().manifests if _name(entry)}

    def resolve(self, ref: str = "") -> Descriptor:
        """The manifest called `ref`: a name, a digest, the tag of a name that is a whole reference, or nothing when the
        layout holds just one; manifests that refer to another (a chunk table, a signature) are not counted then.

        Raises LayoutError listing the names there are.
        """
        entries = self.index().manifests
        found = {entry.digest: entry for entry in entries if not ref or ref in (entry.digest, _name(entry))}
        if not found:
            found = {entry.digest: entry for entry in entries if _name(entry).endswith(f":{ref}")}
        if not ref and len(found) > 1:
            found = {digest: entry for digest, entry in found.items() if not self._about_another(entry)}
        if len(found) == 1:
            return next(iter(found.values()))
        called = f" called {ref!r}" if ref else ""
        problem = f"holds {len(found)} manifests{called}" if found or not ref else f"holds no {ref!r}"
        models = sorted({_name(entry) or entry.digest for entry in entries if not self._about_another(entry)})
        more = ", …" if len(models) > _MOST_NAMES else ""
        known = (", ".join(models[:_MOST_NAMES]) or "none") + more
        raise LayoutError(f"The layout {self.path} {problem}.", remedy=f"Manifests in it: {known}.")

    def manifest(self, ref: str = "", labels: Mapping[str, str] | None = None) -> tuple[Descriptor, Manifest]:
        """The model called `ref`, with the descriptor of its manifest; in an index, the one model among others, or the
        one with these `labels` (see `choose_manifest`).

        Raises LayoutError, InvalidManifest, UnsupportedArtifact, SizeMismatch, DigestMismatch.
        """
        descriptor = self.resolve(ref)
        for _ in range(4):  # indexes may nest; nobody needs more
            found = parse_manifest(self.blobs.read(descriptor, "manifest"), descriptor.media_type)
            if isinstance(found, Manifest):
                return descriptor, found
            descriptor = choose_manifest(found, labels or {})
        raise InvalidManifest(f"The indexes in {self.path} are nested too deeply.")

    def add_manifest(self, raw: bytes, ref: str = "", *, media_type: str | None = None) -> Descriptor:
        """Store a manifest or index and enter it in the index; a `ref` moves to it from where it was. What has a name
        has no entry without one.

        `media_type` as for `parse_manifest`. Raises InvalidManifest; LayoutError when the index would have too many.
        """
        parsed = parse_manifest(raw, media_type)
        descriptor = msgspec.structs.replace(
            self.blobs.add(raw, parsed.media_type),
            artifact_type=parsed.artifact_type,
            annotations={mediatypes.REF_NAME: ref} if ref else {},
        )

        def enter(entries: Entries) -> Entries:
            if not ref and any(entry.digest == descriptor.digest for entry in entries):
                return entries
            return (*(entry for entry in entries if not _replaced(entry, descriptor)), descriptor)

        self._update(enter)
        return descriptor

    def add_referrer(self, what: Attachment) -> Descriptor:
        """Store a small artifact that refers to a manifest, so that `referrers` finds it. Raises InvalidManifest."""
        with self.adding():
            for descriptor, data in what.blobs:
                self.blobs.add(data, descriptor.media_type)
            return self.add_manifest(what.raw)

    def referrers(self, digest: str, artifact_type: str = "") -> Entries:
        """The manifests whose subject is `digest` (signatures, chunk tables), of one artifact type unless empty.
        Those that cannot be read refer to nothing. Raises LayoutError, InvalidManifest."""
        found = {entry.digest: entry for entry in self.index().manifests if self.subject(entry) == digest}
        return tuple(entry for entry in found.values() if artifact_type in ("", entry.artifact_type))

    def chunk_table(self, manifest: Manifest) -> ChunkTable | None:
        """The chunk table that a model's manifest names, checked; None when it names none. Raises LayoutError when it
        is not here, DigestMismatch, InvalidChunkTable."""
        from modelpack.chunk_table import MAX_TABLE_BYTES, table_digest, table_of

        if not (digest := table_digest(manifest)):
            return None
        path = self.blobs.path_of(digest)
        try:
            raw = read_regular(path, MAX_TABLE_BYTES)
        except OSError as problem:
            raise LayoutError(f"The chunk table {digest} cannot be read in {self.path}: {problem.strerror}.") from None
        return table_of(manifest, raw, digest)

    def subject(self, entry: Descriptor) -> str:
        """The digest of the manifest that this one refers to; empty when it refers to none."""
        with suppress(ModelPackError):
            subject = parse_manifest(self.blobs.read(entry, "manifest"), entry.media_type).subject
            return subject.digest if subject else ""
        return ""

    def _about_another(self, entry: Descriptor) -> bool:
        """Whether this is a signature, a chunk table or the like, which nobody means who names no manifest."""
        name = _name(entry)
        return bool(ABOUT_ANOTHER.fullmatch(name.rpartition(":")[2]) if name else self.subject(entry))

    def remove(self, ref: str) -> None:
        """Forget a name, or all entries of a digest; with the last one, what refers to it. Blobs stay.
        Raises LayoutError when there is none."""
        gone = {ref, _name(self.resolve(ref)) or ref}

        def forget(entries: Entries) -> Entries:
            kept = tuple(entry for entry in entries if gone.isdisjoint((entry.digest, _name(entry))))
            lost = {entry.digest for entry in entries} - {entry.digest for entry in kept}
            while about := [entry for entry in kept if not _name(entry) and self.subject(entry) in lost]:
                lost = {entry.digest for entry in about}
                kept = tuple(entry for entry in kept if entry not in about)
            return kept

        self._update(forget)

    def discard(self, ref: str) -> int:
        """Forget a name, or all entries of a digest, with the blobs that nothing else here leads to. Returns the bytes
        of disk that frees, and waits for those who are `adding`. Raises LayoutError when there is none."""
        with self.alone():
            below = self.digests_below(self.index().manifests)
            self.remove(ref)
            freed = 0
            for digest in below - self.digests_below(self.index().manifests):
                path = self.blobs.path_of(digest)
                with suppress(FileNotFoundError):
                    found = path.stat()
                    freed += found.st_blocks * 512 if found.st_nlink == 1 else 0  # else it is somebody's file too
                    path.unlink()
            return freed

    def adding(self) -> AbstractContextManager[None]:
        """Held while blobs are added that no manifest in the index leads to yet: `discard` waits."""
        return self._holding(".adding", fcntl.LOCK_SH)

    def alone(self) -> AbstractContextManager[None]:
        """Held while blobs are removed: waits for those who are `adding`, and they wait."""
        return self._holding(".adding", fcntl.LOCK_EX)

    def keep_only(self, entries: Entries) -> None:
        """Forget all other manifests; blobs stay."""
        self._update(lambda now: tuple(entry for entry in now if entry in entries))

    def verify(self) -> None:
        """Check every blob the index leads to, once. Raises what is wrong first: LayoutError, InvalidManifest,
        SizeMismatch, DigestMismatch."""
        for descriptor in self._walk(self.index().manifests):
            if descriptor.media_type not in _DOCUMENTS:
                self.blobs.check(descriptor)

    def _update(self, change: Callable[[Entries], Entries]) -> None:
        with self._locked():
            index = self.index()
            updated = msgspec.structs.replace(index, manifests=change(index.manifests))
            raw = encode_manifest(updated)
            if len(raw) > MAX_MANIFEST_BYTES and len(updated.manifests) >= len(index.manifests):
                raise LayoutError(
                    f"The index.json of {self.path} would have {len(raw)} bytes; {MAX_MANIFEST_BYTES} are read.",
                    remedy="Remove models from it (`modeldist prune`), or use another layout.",
                )
            replace_file(self.path / "index.json", raw)

    def digests_below(self, entries: Entries) -> set[str]:
        """Everything that the entries lead to, their own manifests included; those that are broken lead nowhere."""
        return {descriptor.digest for descriptor in self._walk(entries, skip_broken=True)}

    def _walk(self, entries: Entries, *, skip_broken: bool = False) -> Iterator[Descriptor]:
        """All blobs that the entries lead to, their own included, each once. Raises what is wrong with a manifest,
        unless those that are broken lead nowhere."""
        seen: set[str] = set()
        waiting = list(entries)
        while waiting:
            descriptor = waiting.pop()
            if descriptor.digest in seen:
                continue
            seen.add(descriptor.digest)
            yield descriptor
            if descriptor.media_type in _DOCUMENTS:
                with suppress(*((ModelPackError,) if skip_broken else ())):
                    parsed = parse_manifest(self.blobs.read(descriptor, "manifest"), descriptor.media_type)
                    waiting += parsed.manifests if isinstance(parsed, Index) else (parsed.config, *parsed.layers)

    def _locked(self) -> AbstractContextManager[None]:
        """One writer of the index at a time."""
        return self._holding(".lock", fcntl.LOCK_EX)

    @contextmanager
    def _holding(self, name: str, how: int) -> Iterator[None]:
        """Locks are files in the blob directory, as a layout has none for it."""
        with open(self.path / "blobs" / name, "ab") as lock:
            fcntl.flock(lock, how)
            yield


def _is_unfinished(path: Path) -> bool:
    """An empty directory, or what another process has made of a layout so far."""
    if not path.is_dir():
        return False
    return all(entry.name in ("blobs", "index.json") or entry.name.startswith(".new-") for entry in path.iterdir())


def _name(entry: Descriptor) -> str:
    return entry.annotations.get(mediatypes.REF_NAME, "")


def _replaced(entry: Descriptor, by: Descriptor) -> bool:
    """Whether an entry goes when this one comes: it has its name, or is the same without one."""
    return _name(entry) == _name(by) if _name(entry) else entry.digest == by.digest
