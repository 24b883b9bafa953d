"""Docker Model Runner, config versions 0.1 (layers by position) and 0.2 (a path on every layer)."""

from __future__ import annotations

from typing import cast

from modelpack import mediatypes
from modelpack.artifact import Dialect, ModelFile
from modelpack.config import ModelConfig, ModelDescriptor, ModelFS, TechnicalConfig
from modelpack.deviations import Deviations, pointer_to
from modelpack.dialects.annotations import file_metadata, first_annotation
from modelpack.dialects.foreign import Positions, config_document, root_diff_ids, section, text
from modelpack.errors import InvalidManifest
from modelpack.filekinds import kind_of
from modelpack.manifest import Descriptor, Manifest
from modelpack.mediatypes import Encoding, LayerKind

_LAYERS: dict[str, tuple[str, LayerKind, Encoding]] = {
    "gguf.v3": ("model.gguf", "weight", "raw"),
    "safetensors": ("model.safetensors", "weight", "raw"),
    "mmproj": ("mmproj.gguf", "weight", "raw"),
    "dduf": ("model.dduf", "weight", "raw"),
    "license": ("LICENSE", "doc", "raw"),
    "chat.template.jinja": ("chat_template.jinja", "weight.config", "raw"),
    "vllm.config.tar": ("vllm-config", "weight.config", "tar"),
    "dir.tar": ("directory", "weight.config", "tar"),
    "model.file": ("", "weight.config", "raw"),
    "model.file.v1+gguf": ("model.gguf", "weight", "raw"),  # before gguf.v3
}


def read(
    manifest: Manifest, config: bytes, deviations: Deviations
) -> tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]:
    """Files and config of a Docker model."""
    dialect = cast(Dialect, mediatypes.DOCKER_AI_CONFIGS[manifest.config.media_type])
    positions = Positions([_known(layer)[0] for layer in manifest.layers if not _annotated(layer)])
    read_layers = (_file(number, layer, positions, deviations) for number, layer in enumerate(manifest.layers))
    return dialect, tuple(file for file in read_layers if file is not None), _config(config, deviations)


def _known(layer: Descriptor) -> tuple[str, LayerKind, Encoding]:
    short = layer.media_type.removeprefix(mediatypes.DOCKER_AI)
    return _LAYERS.get(short, ("", "other", mediatypes.encoding_by_suffix(layer.media_type)))


def _annotated(layer: Descriptor) -> str:
    return first_annotation(layer, (*mediatypes.FILEPATHS, mediatypes.TITLE))


def _file(number: int, layer: Descriptor, positions: Positions, deviations: Deviations) -> ModelFile | None:
    name, kind, encoding = _known(layer)
    path = _annotated(layer) or (positions.next(name, is_weight=kind == "weight") if name else "")
    if not path:
        message = f"The layer {layer.digest} of type {layer.media_type[:120]!r} has no name and was left out."
        deviations.error("no-name", message, InvalidManifest, pointer_to("layers", number), number)
        return None
    metadata = file_metadata(number, layer, mediatypes.FILE_METADATAS, deviations)
    if layer.media_type.endswith("model.file"):
        kind = kind_of(path.rpartition("/")[2], layer.size)
    return ModelFile(path, layer, kind, encoding, metadata)


def _config(raw: bytes, deviations: Deviations) -> ModelConfig:
    document = config_document(raw, deviations)
    technical, descriptor = section(document, "config"), section(document, "descriptor")
    return ModelConfig(
        descriptor=ModelDescriptor(family=text(descriptor, "family"), name=text(descriptor, "name")),
        config=TechnicalConfig(
            architecture=text(technical, "architecture"),
            format=text(technical, "format"),
            param_size=text(technical, "paramSize") or text(technical, "parameters"),
            quantization=text(technical, "quantization"),
        ),
        modelfs=ModelFS(diff_ids=root_diff_ids(document)),
    )
