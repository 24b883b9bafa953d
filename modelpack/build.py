"""Builds a ModelPack: a directory becomes raw layers, one per file, in an OCI image layout.

The same files give the same manifest digest wherever and whenever they are built: paths are sorted, owners are 0,
modes 0644 or 0755, times one fixed date, and nothing of the directory's own name or place goes in. Weights are not
copied where the file system can avoid it (see `modelpack.placement`); a layout of hard links must not outlive edits to
the files in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from modelpack import mediatypes
from modelpack.artifact import FileMetadata
from modelpack.config import ModelConfig, ModelDescriptor, ModelFS, encode_config
from modelpack.errors import BuildError
from modelpack.filekinds import kind_of
from modelpack.hashing import hash_file
from modelpack.layout import OciLayout
from modelpack.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest, encode_manifest
from modelpack.model_facts import ModelFacts, model_facts
from modelpack.sources import SourceFile, collect_files
from modelpack.timestamps import rfc3339

FIXED_EPOCH = 1_735_689_600  # 2025-01-01T00:00:00Z
MAX_EPOCH = 253_402_300_799  # the last second of the year 9999, the last RFC 3339 can write

OnFile = Callable[[str, int], None]
"""Called from any thread with a path and its bytes when the file is in the layout."""


@dataclass(frozen=True, slots=True)
class BuiltArtifact:
    """What `build` put into the layout. `placements` says how each file's bytes got there, by path."""

    descriptor: Descriptor
    manifest: Manifest
    config: ModelConfig
    placements: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return self.descriptor.digest


def build(
    directory: Path,
    layout: OciLayout,
    *,
    ref: str = "",
    about: ModelDescriptor = ModelDescriptor(),  # noqa: B008 - frozen
    annotations: Mapping[str, str] | None = None,
    epoch: int | None = None,
    environ: Mapping[str, str] = os.environ,
    follow: tuple[Path, ...] = (),
    threads: int | None = None,
    on_file: OnFile | None = None,
) -> BuiltArtifact:
    """Build `directory` into `layout`, named `ref` there. Blocks; hashes `threads` files at once.

    `about` goes into the config before what config.json says; `epoch` (seconds) dates the files and the model, else
    SOURCE_DATE_EPOCH in `environ` does, else files get a fixed date and the model none. `follow` names directories
    that links may lead into besides a Hugging Face cache's own blobs. Raises BuildError, UnsafeName, OSError.
    """
    if epoch is None:
        epoch = source_date_epoch(environ)
    files = collect_files(directory, follow=follow, without=layout.path)
    facts = model_facts(files)
    with layout.adding():
        layers, placements = _store(files, layout, epoch, threads, on_file)
        config = _config(layers, facts, about, epoch)
        manifest = Manifest(
            schema_version=2,
            media_type=mediatypes.OCI_MANIFEST,
            artifact_type=mediatypes.CNCF_ARTIFACT,
            config=layout.blobs.add(encode_config(config), mediatypes.CNCF_CONFIG),
            layers=tuple(layers),
            annotations=dict(annotations or {}),
        )
        raw = encode_manifest(manifest)
        if len(raw) > MAX_MANIFEST_BYTES:
            raise BuildError(
                f"{directory} has {len(files)} files, which makes a manifest of {len(raw)} bytes; registries take "
                f"{MAX_MANIFEST_BYTES}.",
                remedy="Remove files the model does not need.",
            )
        return BuiltArtifact(layout.add_manifest(raw, ref), manifest, config, placements, facts.warnings)


def source_date_epoch(environ: Mapping[str, str]) -> int | None:
    """SOURCE_DATE_EPOCH in seconds, None when it is not set. Raises BuildError when it is no time."""
    text = environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_EPOCH:
        raise BuildError(
            f"SOURCE_DATE_EPOCH is {text[:40]!r}, which is no time.", remedy="It is a number of seconds since 1970."
        )
    return int(text)


def _store(
    files: Sequence[SourceFile], layout: OciLayout, epoch: int | None, threads: int | None, on_file: OnFile | None
) -> tuple[list[Descriptor], dict[str, str]]:
    mtime = rfc3339(FIXED_EPOCH if epoch is None else epoch)

    def store(source: SourceFile) -> tuple[Descriptor, str]:
        layer, placement = _layer(source, layout, mtime)
        if on_file is not None:
            on_file(source.path, layer.size)
        return layer, placement

    workers = threads or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="build") as pool:
        stored = list(pool.map(store, files))
    placements = {source.path: placement for source, (_, placement) in zip(files, stored, strict=True)}
    return [layer for layer, _ in stored], placements


def _layer(source: SourceFile, layout: OciLayout, mtime: str) -> tuple[Descriptor, str]:
    hashed = hash_file(source.file)
    name = source.path.rpartition("/")[2]
    metadata = FileMetadata(
        name=name, mode=0o755 if source.executable else 0o644, size=hashed.size, mtime=mtime, typeflag=0
    )
    layer = Descriptor(
        media_type=mediatypes.layer_type(kind_of(name, hashed.size)),
        digest=hashed.digest,
        size=hashed.size,
        annotations={
            mediatypes.FILEPATH: source.path,
            mediatypes.TITLE: source.path,
            mediatypes.FILE_METADATA: _metadata_text(metadata),
        },
    )
    placement = layout.blobs.add_file(source.file, layer)
    status = source.file.stat()
    if (status.st_size, status.st_mtime_ns) != (hashed.size, hashed.mtime_ns):
        if placement != "present":
            layout.blobs.path_of(layer.digest).unlink(missing_ok=True)
        raise BuildError(f"{source.file} changed while it was read.", remedy="Build again when nothing writes to it.")
    return layer, placement


def _metadata_text(metadata: FileMetadata) -> str:
    """All members, also those that are zero: Go readers take an absent one for an old version."""
    return msgspec.json.encode(
        {name: getattr(metadata, name) for name in FileMetadata.__struct_fields__}, order=None
    ).decode()


def _config(layers: Sequence[Descriptor], facts: ModelFacts, about: ModelDescriptor, epoch: int | None) -> ModelConfig:
    descriptor = msgspec.structs.replace(
        about,
        created_at=about.created_at or ("" if epoch is None else rfc3339(epoch)),
        family=about.family or facts.family,
        name=about.name or facts.name,
    )
    return ModelConfig(
        descriptor=descriptor,
        config=facts.technical,
        modelfs=ModelFS(diff_ids=tuple(layer.digest for layer in layers)),
    )
