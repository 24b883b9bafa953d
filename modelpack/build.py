"""Builds a ModelPack: a directory becomes layers, one per file, in an OCI image layout.

The same files give the same manifest digest wherever and whenever they are built: paths are sorted, owners are 0,
modes 0644 or 0755, times one fixed date, and nothing of the directory's own name or place goes in. Weights are not
copied where the file system can avoid it (see `modelpack.placement`); a layout of hard links must not outlive edits to
large files in place. Each file is read once: for its sha256, and for the chunk table that proves parts of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from modelpack import mediatypes
from modelpack.chunk_index import CHUNK_INDEX_TYPE, ChunkIndex, average_for, encode_index
from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION, CHUNK_TABLE_TYPE, ChunkTable, IndexBlob, encode_table
from modelpack.config import ModelConfig, ModelDescriptor, ModelFS, TechnicalConfig, encode_config
from modelpack.digests import sha256_digest
from modelpack.errors import BuildError
from modelpack.filekinds import kind_of
from modelpack.hashing import Spare, cores
from modelpack.layers import BuiltLayer, Encodings, LayerWriter
from modelpack.layout import OciLayout
from modelpack.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest, encode_manifest
from modelpack.mediatypes import LayerKind
from modelpack.model_facts import ModelFacts, model_facts
from modelpack.referrers import attachment
from modelpack.sources import SourceFile, check_whole, collect_files
from modelpack.timestamps import rfc3339

FIXED_EPOCH = 1_735_689_600  # 2025-01-01T00:00:00Z
MAX_EPOCH = 253_402_300_799  # the last second of the year 9999, the last RFC 3339 can write

Described = TypeVar("Described", ModelDescriptor, TechnicalConfig)
OnFile = Callable[[str, int], None]
"""Called from any thread with a path and its bytes when the file is in the layout."""


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a Modelfile or Kitfile says of a model: its files with their kinds, and what goes into the config."""

    files: tuple[tuple[SourceFile, LayerKind], ...]
    about: ModelDescriptor = ModelDescriptor()
    technical: TechnicalConfig = TechnicalConfig()
    warnings: tuple[str, ...] = ()


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
    plan: BuildPlan | None = None,
    about: ModelDescriptor = ModelDescriptor(),  # noqa: B008 - frozen
    technical: TechnicalConfig = TechnicalConfig(),  # noqa: B008 - frozen
    annotations: Mapping[str, str] | None = None,
    encodings: Encodings | None = None,
    chunk_table: bool = True,
    chunk_index: bool = True,
    epoch: int | None = None,
    environ: Mapping[str, str] = os.environ,
    follow: tuple[Path, ...] = (),
    threads: int | None = None,
    on_file: OnFile | None = None,
) -> BuiltArtifact:
    """Build `directory` into `layout`, named `ref` there. Blocks; hashes `threads` files at once.

    `plan` names the files and their kinds, else all of the directory are taken and sorted by their names. `about` and
    `technical` go into the config before what the plan says, and that before what config.json and the weights say.
    `encodings`: kinds of layers to pack as tar. `chunk_index`: beside the chunk table, say where the content of large
    files may be cut, so that who has another version fetches what differs. `epoch` (seconds) dates the files and the
    model, else SOURCE_DATE_EPOCH in `environ` does, else files get a fixed date and the model none. `follow` names
    directories that links may lead into besides a Hugging Face cache's own blobs. Raises BuildError, UnsafeName,
    OSError.
    """
    if epoch is None:
        epoch = source_date_epoch(environ)
    if plan is None:
        plan = plan_of(collect_files(directory, follow=follow, without=layout.path))
    files = [file for file, _ in plan.files]
    check_whole(directory, files)
    facts = model_facts(files)
    with layout.adding():
        average = average_for(sum(file.size for file in files)) if chunk_table and chunk_index else 0
        date = FIXED_EPOCH if epoch is None else epoch
        built = _store(plan, layout, date, encodings or {}, threads, on_file, average)
        config = _config(
            built,
            _filled(about, plan.about),
            _filled(_filled(technical, plan.technical), facts.technical),
            facts,
            epoch,
        )
        index = _store_index(built, layout, average)
        table = _chunk_table(built, index) if chunk_table else b""
        manifest = Manifest(
            schema_version=2,
            media_type=mediatypes.OCI_MANIFEST,
            artifact_type=mediatypes.CNCF_ARTIFACT,
            config=layout.blobs.add(encode_config(config), mediatypes.CNCF_CONFIG),
            layers=tuple(layer.descriptor for layer in built),
            annotations={**(annotations or {}), **({CHUNK_TABLE_ANNOTATION: sha256_digest(table)} if table else {})},
        )
        raw = encode_manifest(manifest)
        if len(raw) > MAX_MANIFEST_BYTES:
            raise BuildError(
                f"{directory} has {len(files)} files, which makes a manifest of {len(raw)} bytes; registries take "
                f"{MAX_MANIFEST_BYTES}.",
                remedy="Remove files the model does not need.",
            )
        descriptor = layout.add_manifest(raw, ref)
        if table:
            beside = (index,) if index is not None else ()
            layout.add_referrer(attachment(descriptor, CHUNK_TABLE_TYPE, table, beside=beside))
        placements = {file.path: layer.placement for file, layer in zip(files, built, strict=True)}
        return BuiltArtifact(descriptor, manifest, config, placements, (*plan.warnings, *facts.warnings))


def plan_of(files: Sequence[SourceFile]) -> BuildPlan:
    """All files, their kinds by their names."""
    return BuildPlan(tuple((file, kind_of(file.path.rpartition("/")[2], file.size)) for file in files))


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
    plan: BuildPlan,
    layout: OciLayout,
    epoch: int,
    encodings: Encodings,
    threads: int | None,
    on_file: OnFile | None,
    average: int,
) -> list[BuiltLayer]:
    """The layers, in the plan's order; the largest file is begun first, as the last to finish should be short."""
    built: dict[int, BuiltLayer] = {}
    order = sorted(range(len(plan.files)), key=lambda number: -plan.files[number][0].size)
    workers = threads or cores()
    with (
        ThreadPoolExecutor(max_workers=workers, thread_name_prefix="chunks") as others,
        ThreadPoolExecutor(max_workers=workers, thread_name_prefix="build") as pool,
    ):
        writer = LayerWriter(layout, epoch, Spare(others, workers), encodings, average)

        def store(number: int) -> None:
            source, kind = plan.files[number]
            built[number] = writer.add(source, kind)
            if on_file is not None:
                on_file(source.path, built[number].descriptor.size)

        for _ in pool.map(store, order):
            pass
    return [built[number] for number in range(len(plan.files))]


def _chunk_table(built: Sequence[BuiltLayer], index: Descriptor | None) -> bytes:
    """Each blob once, in the order of the layers."""
    named = IndexBlob(index.digest, index.size) if index is not None else None
    return encode_table(ChunkTable(tuple({layer.chunks.digest: layer.chunks for layer in built}.values()), named))


def _store_index(built: Sequence[BuiltLayer], layout: OciLayout, average: int) -> Descriptor | None:
    """None where no file is large enough."""
    blobs = {layer.cuts.digest: layer.cuts for layer in built if layer.cuts is not None}
    if not blobs:
        return None
    return layout.blobs.add(encode_index(ChunkIndex(average, tuple(blobs.values()))), CHUNK_INDEX_TYPE)


def _config(
    built: Sequence[BuiltLayer],
    about: ModelDescriptor,
    technical: TechnicalConfig,
    facts: ModelFacts,
    epoch: int | None,
) -> ModelConfig:
    descriptor = msgspec.structs.replace(
        about,
        created_at=about.created_at or ("" if epoch is None else rfc3339(epoch)),
        family=about.family or facts.family,
        name=about.name or facts.name,
    )
    return ModelConfig(
        descriptor=descriptor,
        config=technical,
        modelfs=ModelFS(diff_ids=tuple(layer.diff_id for layer in built)),
    )


def _filled(first: Described, then: Described) -> Described:
    """`first`, and what it leaves open from `then`."""
    given = {name: getattr(first, name) or getattr(then, name) for name in first.__struct_fields__}
    return msgspec.structs.replace(first, **given)
