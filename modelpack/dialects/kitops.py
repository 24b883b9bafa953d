"""KitOps ModelKits: archives whose paths are those of the kit, or (since 1.15) files as they are, described by a
Kitfile as config. Its `layerInfo` says which layer an entry became."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpack import mediatypes
from modelpack.artifact import Dialect, ModelFile
from modelpack.config import ModelConfig, ModelDescriptor, ModelFS, TechnicalConfig
from modelpack.deviations import Deviations, pointer_to
from modelpack.dialects.annotations import file_metadata, first_annotation
from modelpack.dialects.foreign import config_document, section, text, texts
from modelpack.digests import digest_problem
from modelpack.errors import InvalidManifest
from modelpack.manifest import Descriptor, Manifest
from modelpack.mediatypes import Encoding, LayerKind

_LAYER = re.compile(re.escape(mediatypes.KITOPS_LAYER) + r"([a-z]+)\.v1\.(tar|tar\+gzip|tar\+zstd|raw)")
_KINDS: dict[str, LayerKind] = {
    "model": "weight",
    "modelpart": "weight",
    "dataset": "dataset",
    "code": "code",
    "docs": "doc",
}
_ENCODINGS: dict[str, Encoding] = {encoding: encoding for encoding in mediatypes.ENCODINGS}


@dataclass(frozen=True, slots=True)
class _Packed:
    """What the Kitfile tells of one layer."""

    path: str
    diff_id: str


def read(
    manifest: Manifest, config: bytes, deviations: Deviations
) -> tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]:
    """Files and config of a ModelKit."""
    kitfile = config_document(config, deviations)
    packed = _packed(kitfile)
    read_layers = (_file(number, layer, packed, deviations) for number, layer in enumerate(manifest.layers))
    diff_ids = tuple(packed[layer.digest].diff_id for layer in manifest.layers if layer.digest in packed)
    complete = len(diff_ids) == len(manifest.layers) and all(diff_ids)
    about = _config(kitfile, ModelFS(diff_ids=diff_ids if complete else ()))
    return "kitops", tuple(file for file in read_layers if file is not None), about


def _file(number: int, layer: Descriptor, packed: dict[str, _Packed], deviations: Deviations) -> ModelFile | None:
    match = _LAYER.fullmatch(layer.media_type)
    kind: LayerKind = _KINDS.get(match[1], "other") if match else "other"
    encoding = _ENCODINGS[match[2]] if match else mediatypes.encoding_by_suffix(layer.media_type)
    path = first_annotation(layer, (*mediatypes.FILEPATHS, mediatypes.TITLE))
    if encoding != "raw":
        path = path or f"{kind}-{number}"
    elif not path and layer.digest in packed:
        path = packed[layer.digest].path
    if not path:
        message = f"The layer {layer.digest} of type {layer.media_type[:120]!r} has no name and was left out."
        deviations.error("no-name", message, InvalidManifest, pointer_to("layers", number), number)
        return None
    metadata = file_metadata(number, layer, mediatypes.FILE_METADATAS, deviations)
    return ModelFile(path, layer, kind, encoding, metadata)


def _packed(kitfile: Mapping[str, Any]) -> dict[str, _Packed]:
    """By the layer's digest. Sections: the model and its parts, and the lists beside it."""
    model = section(kitfile, "model")
    entries: list[Any] = [model]
    for holder, name in ((model, "parts"), (kitfile, "datasets"), (kitfile, "code"), (kitfile, "docs")):
        listed = holder.get(name)
        entries += listed if isinstance(listed, list) else []
    found = {}
    for entry in entries:
        info = section(entry, "layerInfo") if isinstance(entry, dict) else {}
        diff_id = text(info, "diffId")
        if digest := text(info, "digest"):
            found[digest] = _Packed(text(entry, "path"), "" if digest_problem(diff_id) else diff_id)
    return found


def _config(kitfile: Mapping[str, Any], modelfs: ModelFS) -> ModelConfig:
    package, model = section(kitfile, "package"), section(kitfile, "model")
    license_id = text(package, "license") or text(model, "license")
    return ModelConfig(
        descriptor=ModelDescriptor(
            name=text(package, "name") or text(model, "name"),
            version=text(package, "version"),
            description=text(package, "description"),
            authors=texts(package, "authors"),
            licenses=(license_id,) if license_id else (),
        ),
        config=TechnicalConfig(format=text(model, "framework")),
        modelfs=modelfs,
    )
