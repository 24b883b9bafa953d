"""What the first modctl (late 2024) wrote before the specification had a config: layers of one type, told apart by
annotations, beside the config of a container image; the model described by annotations of the manifest."""

from __future__ import annotations

from modelpack import mediatypes
from modelpack.config import ModelConfig, ModelDescriptor, ModelFS, TechnicalConfig
from modelpack.deviations import Deviations
from modelpack.dialects.annotations import first_annotation
from modelpack.dialects.foreign import config_document, root_diff_ids
from modelpack.filekinds import kind_of
from modelpack.manifest import Descriptor, Manifest
from modelpack.mediatypes import LayerKind
from modelpack.timestamps import is_rfc3339

_LAYERS = ("application/vnd.cnai.model.layer.v1.tar", "application/vnd.cnai.model.layer.v1.tar+gzip")
_FLAGS: dict[str, LayerKind] = {
    "org.cnai.model.model": "weight",
    "org.cnai.model.config": "weight.config",
    "org.cnai.model.readme": "doc",
    "org.cnai.model.license": "doc",
}


def is_layer(layer: Descriptor) -> bool:
    """Whether it is one of theirs: by its media type, or by the artifact type of an image layer."""
    return layer.media_type in _LAYERS or layer.artifact_type in _LAYERS


def kind(layer: Descriptor) -> LayerKind:
    """By its flags, else by its name."""
    flagged = (found for flag, found in _FLAGS.items() if layer.annotations.get(flag) == "true")
    name = first_annotation(layer, mediatypes.FILEPATHS).rpartition("/")[2]
    return next(flagged, kind_of(name, layer.size))


def has_config(manifest: Manifest) -> bool:
    """Whether the artifact describes itself by annotations, its config being that of an image."""
    return manifest.artifact_type == mediatypes.CNAI_ARTIFACT and (
        manifest.config.media_type == mediatypes.OCI_IMAGE_CONFIG
    )


def config(manifest: Manifest, raw: bytes, deviations: Deviations) -> ModelConfig:
    """The annotations of the manifest as a model config."""
    message = "The model is described by annotations, as before the specification had a model config."
    deviations.note("config-type-old", message, "/annotations")

    def told(name: str) -> str:
        return manifest.annotations.get(f"org.cnai.model.{name}", "")

    created = told("created")
    return ModelConfig(
        descriptor=ModelDescriptor(
            created_at=created if is_rfc3339(created) else "", family=told("family"), name=told("name")
        ),
        config=TechnicalConfig(
            architecture=told("architecture"),
            format=told("format"),
            param_size=told("param.size"),
            precision=told("precision"),
            quantization=told("quantization"),
        ),
        modelfs=ModelFS(diff_ids=root_diff_ids(config_document(raw, deviations))),
    )
