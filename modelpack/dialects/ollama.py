"""Ollama: a Docker manifest whose layers are told apart by type alone."""

from __future__ import annotations

from modelpack import mediatypes
from modelpack.artifact import Dialect, ModelFile
from modelpack.config import ModelConfig, ModelDescriptor, ModelFS, TechnicalConfig
from modelpack.deviations import Deviations
from modelpack.dialects.foreign import Positions, config_document, root_diff_ids, text
from modelpack.manifest import Manifest
from modelpack.mediatypes import LayerKind

_LAYERS: dict[str, tuple[str, LayerKind]] = {
    "model": ("model.gguf", "weight"),
    "projector": ("mmproj.gguf", "weight"),
    "adapter": ("adapter.gguf", "weight"),
    "draft": ("draft.gguf", "weight"),
    "template": ("template", "weight.config"),
    "system": ("system", "weight.config"),
    "params": ("params.json", "weight.config"),
    "license": ("LICENSE", "doc"),
}


def read(
    manifest: Manifest, config: bytes, deviations: Deviations
) -> tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]:
    """Files and config of an Ollama model. Layers of unknown type are left out with a warning."""
    layers = [(layer, layer.media_type.removeprefix(mediatypes.OLLAMA_LAYER)) for layer in manifest.layers]
    positions = Positions([_LAYERS[short][0] for _, short in layers if short in _LAYERS])
    files: list[ModelFile] = []
    for layer, short in layers:
        if short not in _LAYERS:
            message = f"The layer {layer.digest} of type {layer.media_type[:120]!r} was left out."
            deviations.warn("layer-type", message)
            continue
        name, kind = _LAYERS[short]
        files.append(ModelFile(positions.next(name, is_weight=kind == "weight"), layer, kind))
    return "ollama", tuple(files), _config(config, deviations)


def _config(raw: bytes, deviations: Deviations) -> ModelConfig:
    document = config_document(raw, deviations)
    return ModelConfig(
        descriptor=ModelDescriptor(family=text(document, "model_family")),
        config=TechnicalConfig(
            format=text(document, "model_format"),
            param_size=text(document, "model_type"),
            quantization=text(document, "file_type"),
        ),
        modelfs=ModelFS(diff_ids=root_diff_ids(document)),
    )
