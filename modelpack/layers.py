"""One file becomes one layer of a model, its bytes in a layout: linked when raw, written when packed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

import msgspec

from modelpack import mediatypes
from modelpack.artifact import FileMetadata
from modelpack.chunk_table import BlobChunks, chunk_size_for
from modelpack.errors import BuildError
from modelpack.filekinds import kind_of
from modelpack.hashing import hash_with_chunks
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


@dataclass(frozen=True)
class LayerWriter:
    """Makes layers in `layout`, dated `epoch` (seconds); `others` are threads that help with hashing."""

    layout: OciLayout
    epoch: int
    others: Executor
    encodings: Encodings = field(default_factory=dict)

    def add(self, source: SourceFile, kind: LayerKind | None = None) -> BuiltLayer:
        """Raises BuildError when the file changes meanwhile, OSError."""
        kind = kind or kind_of(source.path.rpartition("/")[2], source.size)
        encoding = self.encodings.get(kind, "raw")
        if encoding == "raw":
            return self._raw(source, kind)
        packed = pack_file(source, encoding, self.epoch, self.layout.blobs.path)
        try:
            layer = self._descriptor(source, kind, encoding, packed.chunks, packed.read)
            placement = self.layout.blobs.take_file(packed.path, layer)
            self._unchanged(source, packed.read, packed.mtime_ns, layer, placement)
        finally:
            packed.path.unlink(missing_ok=True)
        return BuiltLayer(layer, packed.diff_id, packed.chunks, placement)

    def _raw(self, source: SourceFile, kind: LayerKind) -> BuiltLayer:
        hashed = hash_with_chunks(source.file, chunk_size_for(source.size), self.others)
        if hashed.size != source.size:
            raise _changed(source)
        chunks = BlobChunks(hashed.digest, hashed.size, hashed.chunk_size, hashed.chunks)
        layer = self._descriptor(source, kind, "raw", chunks, hashed.size)
        placement = self.layout.blobs.add_file(source.file, layer)
        self._unchanged(source, hashed.size, hashed.mtime_ns, layer, placement)
        return BuiltLayer(layer, hashed.digest, chunks, placement)

    def _unchanged(self, source: SourceFile, size: int, mtime_ns: int, layer: Descriptor, placement: str) -> None:
        status = source.file.stat()
        if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
            if placement != "present":
                self.layout.blobs.path_of(layer.digest).unlink(missing_ok=True)
            raise _changed(source)

    def _descriptor(
        self, source: SourceFile, kind: LayerKind, encoding: Encoding, chunks: BlobChunks, size: int
    ) -> Descriptor:
        metadata = FileMetadata(
            name=source.path.rpartition("/")[2],
            mode=0o755 if source.executable else 0o644,
            size=size,
            mtime=rfc3339(self.epoch),
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


def _changed(source: SourceFile) -> BuildError:
    return BuildError(f"{source.file} changed while it was read.", remedy="Build again when nothing writes to it.")
