"""Ollama: a Docker manifest whose layers are told apart by type alone."""

from __future__ import annotations

from modelpack import mediatypes
from modelpack.artifact import Dialect, ModelFile
from modelpack.config import ModelConfig, ModelDescriptor, ModelFS, TechnicalConfig
from modelpack.deviations import Deviations, pointer_to
from modelpack.dialects.foreign import Positions, config_document, root_diff_ids, text
from modelpack.manifest import Descriptor, Manifest
from modelpack.mediatypes import LayerKind

_LAYERS: dict[str, tuple[str, LayerKind]] = {
    "model": ("model.gguf", "weight"),
    "projector": ("mmproj.gguf", "weight"),
    "adapter": ("adapter.gguf", "weight"),
    "draft": ("draft.gguf", "weight"),
    "template": ("template", "weight.config"),
    "prompt": ("template", "weight.config"),  # until Ollama 0.1
    "system": ("system", "weight.config"),
    "params": ("params.json", "weight.config"),
    "messages": ("messages.json", "weight.config"),
    "license": ("LICENSE", "doc"),
    # of its newer manifests, which have no config beside the layers
    "config": ("config.json", "weight.config"),
    "tokenizer": ("tokenizer.json", "weight.config"),
    "tokenizer.config": ("tokenizer_config.json", "weight.config"),
}
# Layers of its safetensors models say in a member `name`, or behind their media type (`…tensor; name=…; dtype=F32`),
# what they are called: one tensor in a safetensors file of its own (text_encoder/model.embed_tokens.weight), and the
# JSON files beside them (text_encoder/config.json).
_NAMED: dict[str, tuple[str, LayerKind]] = {"tensor": (".safetensors", "weight"), "json": ("", "weight.config")}
_FORGOTTEN = ("embed",)  # embeddings that Ollama itself ignores since 0.1.2


def read(
    manifest: Manifest, config: bytes, deviations: Deviations
) -> tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]:
    """Files and config of an Ollama model. Layers of unknown type are left out with a warning."""
    layers = [(number, layer, _short(layer)) for number, layer in enumerate(manifest.layers)]
    positions = Positions([_LAYERS[short][0] for _, _, short in layers if short in _LAYERS])
    files: list[ModelFile] = []
    for number, layer, short in layers:
        if short in _LAYERS:
            name, kind = _LAYERS[short]
            files.append(ModelFile(positions.next(name, is_weight=kind == "weight"), layer, kind))
        elif short in _NAMED and (name := layer.name or _parameter(layer, "name")):
            suffix, kind = _NAMED[short]
            name = name if name.endswith(suffix) else name + suffix
            files.append(ModelFile(name, layer, kind))
        else:
            message = f"The layer {layer.digest} of type {layer.media_type[:120]!r} was left out."
            say = deviations.note if short in _FORGOTTEN else deviations.warn
            say("layer-type", message, pointer_to("layers", number, "mediaType"), number)
    return "ollama", tuple(files), _config(config, deviations)


def _short(layer: Descriptor) -> str:
    """`model` of application/vnd.ollama.image.model, parameters behind a semicolon left out."""
    return layer.media_type.partition(";")[0].strip().removeprefix(mediatypes.OLLAMA_LAYER)


def _parameter(layer: Descriptor, wanted: str) -> str:
    """A parameter of the media type; empty where it is not there."""
    for part in layer.media_type.split(";")[1:]:
        key, _, value = part.strip().partition("=")
        if key.strip().lower() == wanted:
            return value.strip().strip('"')
    return ""


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
