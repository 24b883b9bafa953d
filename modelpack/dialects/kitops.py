"""KitOps ModelKits: archives whose paths are those of the kit, described by a Kitfile as config."""

from __future__ import annotations

import re

from modelpack import mediatypes
from modelpack.artifact import Dialect, ModelFile
from modelpack.config import ModelConfig, ModelDescriptor, TechnicalConfig
from modelpack.deviations import Deviations
from modelpack.dialects.annotations import file_metadata, first_annotation
from modelpack.dialects.foreign import config_document, section, text, texts
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


def read(
    manifest: Manifest, config: bytes, deviations: Deviations
) -> tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]:
    """Files and config of a ModelKit."""
    read_layers = (_file(number, layer, deviations) for number, layer in enumerate(manifest.layers))
    return "kitops", tuple(file for file in read_layers if file is not None), _config(config, deviations)


def _file(number: int, layer: Descriptor, deviations: Deviations) -> ModelFile | None:
    match = _LAYER.fullmatch(layer.media_type)
    kind: LayerKind = _KINDS.get(match[1], "other") if match else "other"
    encoding = _ENCODINGS[match[2]] if match else mediatypes.encoding_by_suffix(layer.media_type)
    path = first_annotation(layer, (*mediatypes.FILEPATHS, mediatypes.TITLE))
    if encoding != "raw":
        path = path or f"{kind}-{number}"
    if not path:
        message = f"The layer {layer.digest} of type {layer.media_type[:120]!r} has no name and was left out."
        deviations.error("no-name", message, InvalidManifest)
        return None
    return ModelFile(path, layer, kind, encoding, file_metadata(layer, mediatypes.FILE_METADATAS, deviations))


def _config(raw: bytes, deviations: Deviations) -> ModelConfig:
    kitfile = config_document(raw, deviations)
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
    )
