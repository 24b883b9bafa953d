"""A file attached to a model in a registry or a layout, without moving the blobs it has."""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from modelpack import mediatypes
from modelpack.attaching import Attaching, table_with
from modelpack.build import FIXED_EPOCH
from modelpack.chunk_index import CHUNK_INDEX_TYPE
from modelpack.chunk_table import CHUNK_TABLE_TYPE, encode_table
from modelpack.digests import sha256_digest
from modelpack.errors import BuildError, LayoutError, RegistryNotFound
from modelpack.filekinds import kind_of
from modelpack.hashing import Spare, cores
from modelpack.layers import PreparedLayer, prepare
from modelpack.manifest import Descriptor, Manifest, choose_manifest, parse_manifest
from modelpack.mediatypes import Encoding, LayerKind
from modelpack.oci.ends import Source, Target
from modelpack.oci.manifests import FetchedManifest
from modelpack.oci.transfer import PARALLEL, all_of
from modelpack.referrers import attachment
from modelpack.sources import SourceFile


@dataclass(frozen=True, slots=True)
class Attached:
    """`digest` of the new manifest, `path` of the file in the model, and whether there was one of that path."""

    digest: str
    path: str
    replaced: bool


async def attach(
    source: Source,
    target: Target,
    file: Path,
    path: str = "",
    *,
    kind: LayerKind | None = None,
    encoding: Encoding = "raw",
    force: bool = False,
    epoch: int | None = None,
    parallel: int = PARALLEL,
) -> Attached:
    """Make `target` name the model of `source` with `file` in it, as `path` (by default its name).

    Of its kind, else of the one its name says; `force` replaces a file of that path. All members of the config and the
    manifest stay; a chunk table gets the new file's chunks. `epoch` (seconds) dates it. Raises BuildError, UnsafeName,
    UnsupportedArtifact, RegistryError, LayoutError.
    """
    model = await _read(source)
    path = path or file.name
    at = model.replaced(path, force=force)
    origin = await asyncio.to_thread(_source, file, path)
    kind = kind or kind_of(path.rpartition("/")[2], origin.size)
    date = FIXED_EPOCH if epoch is None else epoch
    with target.adding():
        with tempfile.TemporaryDirectory(prefix="attach-") as room, ThreadPoolExecutor(cores()) as others:
            ready = await asyncio.to_thread(prepare, origin, kind, encoding, date, Spare(others, cores()), Path(room))
            layer = model.in_its_words(ready.descriptor)
            await target.add(ready.path, layer)
            await asyncio.to_thread(ready.check)
        config = model.config_with(ready.diff_id, at)
        digest = await _store(source, target, model, config, ready, layer, at, parallel)
    return Attached(digest, path, at is not None)


async def attach_config(source: Source, target: Target, raw: bytes, *, parallel: int = PARALLEL) -> Attached:
    """Make `target` name the model of `source` with another config; its list of layers stays. Raises InvalidConfig,
    and as `attach`."""
    model = await _read(source)
    with target.adding():
        digest = await _store(source, target, model, model.other_config(raw), None, None, None, parallel)
    return Attached(digest, "", True)


async def _read(source: Source) -> Attaching:
    found = await source.root()
    parsed = parse_manifest(found.raw, found.media_type)
    if not isinstance(parsed, Manifest):
        found = await source.manifest(choose_manifest(parsed))
        parsed = parse_manifest(found.raw, found.media_type)
    if not isinstance(parsed, Manifest):
        raise BuildError("The model is in an index in an index.", remedy="Name it by its digest.")
    return Attaching(found.raw, parsed, await source.read(parsed.config))


async def _store(
    source: Source,
    target: Target,
    model: Attaching,
    config: bytes,
    ready: PreparedLayer | None,
    layer: Descriptor | None,
    at: int | None,
    parallel: int,
) -> str:
    """Blobs, the config, the manifest, its chunk table, the tag, in this order."""
    kept = {each.digest: each for number, each in enumerate(model.manifest.layers) if number != at}

    async def take(blob: Descriptor) -> None:
        await target.take(blob, source, lambda how, done: None)

    await all_of(take, kept.values(), parallel)
    described = Descriptor(media_type=model.manifest.config.media_type, digest=sha256_digest(config), size=len(config))
    await target.add(config, described)
    table = await source.chunk_table(model.manifest)
    if table is not None and ready is not None:
        table = table_with(table, ready.chunks, [*kept, ready.descriptor.digest])
    beside: tuple[Descriptor, ...] = ()
    if table is not None and table.index is not None:
        beside = (Descriptor(media_type=CHUNK_INDEX_TYPE, digest=table.index.digest, size=table.index.size),)
        try:
            await take(beside[0])
        except (RegistryNotFound, LayoutError):  # a hint that was lost, which the model is as good without
            table, beside = replace(table, index=None), ()
    proof = encode_table(table) if table is not None else b""
    raw = model.manifest_with(described, layer, at, sha256_digest(proof) if proof else "")
    made = FetchedManifest(raw, sha256_digest(raw), model.manifest.media_type or mediatypes.OCI_MANIFEST)
    await target.put(made)
    if proof:
        subject = Descriptor(media_type=made.media_type, digest=made.digest, size=len(raw))
        about = attachment(subject, CHUNK_TABLE_TYPE, proof, beside=beside)
        for blob, data in about.blobs:
            await target.add(data, blob)
        await target.refer(FetchedManifest(about.raw, about.digest, mediatypes.OCI_MANIFEST))
    await target.name(made, "")
    return made.digest


def _source(file: Path, path: str) -> SourceFile:
    if not file.is_file():
        raise BuildError(f"{file} is no file.", remedy="Name one file; build a directory.")
    found = file.stat()
    return SourceFile(path, file.absolute(), found.st_size, bool(found.st_mode & 0o100))
