"""One file becomes one layer of a model, its bytes in a layout: linked when raw, written when packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from modelpack import mediatypes
from modelpack.artifact import FileMetadata
from modelpack.chunk_index import MIN_BLOB, BlobCuts
from modelpack.chunk_table import BlobChunks, chunk_size_for
from modelpack.errors import SourceChanged
from modelpack.hashing import Spare, hash_with_chunks
from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor
from modelpack.mediatypes import Encoding, LayerKind
from modelpack.sources import SourceFile
from modelpack.tarwriter import pack_file
from modelpack.timestamps import rfc3339

Encodings = Mapping[LayerKind, Encoding]
"""How layers of a kind are packed; raw where it says nothing."""


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """`placement` says how the file's bytes got into the layout."""

    descriptor: Descriptor
    diff_id: str
    chunks: BlobChunks
    placement: str
    cuts: BlobCuts | None = None


@dataclass(frozen=True, slots=True)
class PreparedLayer:
    """A layer whose bytes are in the file at `path`: the source itself, or an archive of it that whoever asked for it
    removes. `read` and `mtime_ns`: the source's, as it was read."""

    descriptor: Descriptor
    diff_id: str
    chunks: BlobChunks
    path: Path
    source: SourceFile
    read: int
    mtime_ns: int
    cuts: BlobCuts | None = None

    @property
    def packed(self) -> bool:
        return self.path != self.source.file

    def check(self) -> None:
        """Raises SourceChanged when the source is not what was read any more."""
        status = self.source.file.stat()
        if (status.st_size, status.st_mtime_ns) != (self.read, self.mtime_ns):
            raise _changed(self.source)


def prepare(
    source: SourceFile, kind: LayerKind, encoding: Encoding, epoch: int, spare: Spare, room: Path, average: int = 0
) -> PreparedLayer:
    """Read the file once. Archives are written into `room`. `average`: cut it by content by this setting, where it is
    large and no archive. Raises SourceChanged when it changes, OSError."""
    if encoding != "raw":
        packed = pack_file(source, encoding, epoch, room)
        layer = _descriptor(source, kind, encoding, epoch, packed.chunks, packed.read)
        return PreparedLayer(layer, packed.diff_id, packed.chunks, packed.path, source, packed.read, packed.mtime_ns)
    average = average if source.size >= MIN_BLOB else 0
    hashed = hash_with_chunks(source.file, chunk_size_for(source.size), spare, average)
    if hashed.size != source.size:
        raise _changed(source)
    chunks = BlobChunks(hashed.digest, hashed.size, hashed.chunk_size, hashed.chunks)
    layer = _descriptor(source, kind, "raw", epoch, chunks, hashed.size)
    cuts = BlobCuts(hashed.digest, hashed.size, hashed.cuts) if hashed.cuts is not None else None
    return PreparedLayer(layer, hashed.digest, chunks, source.file, source, hashed.size, hashed.mtime_ns, cuts)


@dataclass(frozen=True)
class LayerWriter:
    """Makes layers in `layout`, dated `epoch` (seconds); `spare` helps with hashing. `average`: see `prepare`."""

    layout: OciLayout
    epoch: int
    spare: Spare
    encodings: Encodings = field(default_factory=dict)
    average: int = 0

    def add(self, source: SourceFile, kind: LayerKind) -> BuiltLayer:
        """Raises SourceChanged when the file changes meanwhile, OSError."""
        blobs, encoding = self.layout.blobs, self.encodings.get(kind, "raw")
        ready = prepare(source, kind, encoding, self.epoch, self.spare, blobs.path, self.average)
        layer = ready.descriptor
        try:
            placement = blobs.take_file(ready.path, layer) if ready.packed else blobs.add_file(ready.path, layer)
            try:
                ready.check()
            except SourceChanged:
                if placement != "present":
                    blobs.path_of(layer.digest).unlink(missing_ok=True)
                raise
        finally:
            if ready.packed:
                ready.path.unlink(missing_ok=True)
        return BuiltLayer(layer, ready.diff_id, ready.chunks, placement, ready.cuts)


def _descriptor(
    source: SourceFile, kind: LayerKind, encoding: Encoding, epoch: int, chunks: BlobChunks, size: int
) -> Descriptor:
    metadata = FileMetadata(
        name=source.path.rpartition("/")[2],
        mode=0o755 if source.executable else 0o644,
        size=size,
        mtime=rfc3339(epoch),
        typeflag=0,
    )
    return Descriptor(
        media_type=mediatypes.layer_type(kind, encoding),
        digest=chunks.digest,
        size=chunks.size,
        annotations={
            mediatypes.FILEPATH: source.path,
            mediatypes.TITLE: source.path,
            mediatypes.FILE_METADATA: _metadata_text(metadata),
        },
    )


def _metadata_text(metadata: FileMetadata) -> str:
    """All members, also those that are zero: Go readers take an absent one for an old version."""
    return msgspec.json.encode(
        {name: getattr(metadata, name) for name in FileMetadata.__struct_fields__}, order=None
    ).decode()


def _changed(source: SourceFile) -> SourceChanged:
    return SourceChanged(f"{source.file} changed while it was read.", remedy="Build again when nothing writes to it.")
