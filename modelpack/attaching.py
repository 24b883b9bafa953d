"""One more file in a model: the manifest and the config as they are, with a layer and its diffId added.

Every member of both stays, known or not. Signatures are of the manifest that was, so they do not go along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec

from modelpack import mediatypes
from modelpack.artifact import read_artifact
from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION, BlobChunks, ChunkTable
from modelpack.config import MAX_CONFIG_BYTES
from modelpack.document import read_object
from modelpack.errors import BuildError, InvalidConfig, InvalidManifest, UnsupportedArtifact
from modelpack.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest
from modelpack.names import check_names

_DIFF_IDS = ("diffIds", "diff_ids")  # today's and the first versions'


@dataclass(frozen=True)
class Attaching:
    """A model's manifest and config, as bytes and parsed. Raises UnsupportedArtifact when it is no ModelPack."""

    raw: bytes
    manifest: Manifest
    config: bytes

    def __post_init__(self) -> None:
        artifact = read_artifact(self.manifest, self.config, mode="lenient")
        if artifact.dialect not in ("cncf", "cnai") or self.diff_ids is None:
            raise UnsupportedArtifact(
                "Files can be attached to ModelPack artifacts whose config lists their layers, and this is none.",
                remedy="Extract it, build it anew with the file, and push that.",
            )

    @property
    def diff_ids(self) -> list[Any] | None:
        """None where the config has no list that agrees with the layers."""
        modelfs = self._document.get("modelfs")
        found = next((modelfs[key] for key in _DIFF_IDS if key in modelfs), None) if isinstance(modelfs, dict) else None
        return found if isinstance(found, list) and len(found) == len(self.manifest.layers) else None

    @cached_property
    def _document(self) -> dict[str, Any]:
        return read_object(self.config, limit=MAX_CONFIG_BYTES, what="model config", error=InvalidConfig)

    def replaced(self, path: str, *, force: bool) -> int | None:
        """The number of the layer that has this path already. Raises BuildError unless `force`, UnsafeName when the
        path goes with no other."""
        paths = [_path(layer) for layer in self.manifest.layers]
        at = paths.index(path) if path in paths else None
        if at is not None and not force:
            raise BuildError(f"The model has a file {path} already.", remedy="Give --force to replace it.")
        check_names([*(each for number, each in enumerate(paths) if each and number != at), path])
        return at

    def config_with(self, diff_id: str, at: int | None) -> bytes:
        """The config with one more diffId, or another one at `at`; members in the order they had."""
        document = self._document
        modelfs = dict(document["modelfs"])
        key = next(key for key in _DIFF_IDS if key in modelfs)
        modelfs[key] = _put(list(modelfs[key]), diff_id, at)
        return msgspec.json.encode({**document, "modelfs": modelfs})

    def other_config(self, raw: bytes) -> bytes:
        """Another config for the same layers. Raises InvalidConfig."""
        document = read_object(raw, limit=MAX_CONFIG_BYTES, what="model config", error=InvalidConfig)
        return msgspec.json.encode({**document, "modelfs": self._document["modelfs"]})

    def manifest_with(
        self, config: Descriptor, layer: Descriptor | None, at: int | None, table_digest: str = ""
    ) -> bytes:
        """Raises BuildError when it gets larger than registries take."""
        document = read_object(self.raw, limit=MAX_MANIFEST_BYTES, what="manifest", error=InvalidManifest)
        layers = list(document.get("layers") or ())
        if layer is not None:
            layers = _put(layers, msgspec.to_builtins(self.in_its_words(layer)), at)
        annotations = dict(document.get("annotations") or {})
        annotations.pop(CHUNK_TABLE_ANNOTATION, None)
        if table_digest:
            annotations[CHUNK_TABLE_ANNOTATION] = table_digest
        document |= {"config": msgspec.to_builtins(config), "layers": layers}
        document.pop("annotations", None)
        raw = msgspec.json.encode({**document, **({"annotations": annotations} if annotations else {})})
        if len(raw) > MAX_MANIFEST_BYTES:
            raise BuildError(f"The manifest would have {len(raw)} bytes; registries take {MAX_MANIFEST_BYTES}.")
        return raw

    def in_its_words(self, layer: Descriptor) -> Descriptor:
        """The layer as the model's version of the specification calls it."""
        if self.manifest.config.media_type != mediatypes.CNAI_CONFIG:
            return layer
        annotations = {key.replace("org.cncf.", "org.cnai."): value for key, value in layer.annotations.items()}
        media_type = layer.media_type.replace("vnd.cncf.", "vnd.cnai.")
        return msgspec.structs.replace(layer, media_type=media_type, annotations=annotations)


def table_with(table: ChunkTable, chunks: BlobChunks, layers: list[str]) -> ChunkTable:
    """The table of a model that has these layers now (digests), one of them new."""
    blobs = {blob.digest: blob for blob in (*table.blobs, chunks) if blob.digest in layers}
    return replace(table, blobs=tuple(blobs.values()))


def _put(entries: list[Any], entry: Any, at: int | None) -> list[Any]:
    if at is None:
        return [*entries, entry]
    return [*entries[:at], entry, *entries[at + 1 :]]


def _path(layer: Descriptor) -> str:
    return next((layer.annotations[key] for key in mediatypes.FILEPATHS if key in layer.annotations), "")
