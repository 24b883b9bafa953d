"""ModelPack itself, in the versions and habits of modctl, AIKit, olot, RamaLama and older Docker Model Runners."""

from __future__ import annotations

import re

from modelpack import mediatypes
from modelpack.artifact import Dialect, FileMetadata, ModelFile
from modelpack.config import ModelConfig, parse_config
from modelpack.deviations import CONFIG_BLOB, Deviations, pointer_to
from modelpack.dialects import first_modctl
from modelpack.dialects.annotations import file_metadata, first_annotation
from modelpack.dialects.foreign import Positions
from modelpack.errors import DigestMismatch, InvalidConfig, InvalidManifest
from modelpack.manifest import Descriptor, Manifest
from modelpack.mediatypes import LayerType

_OLD_DOCKER_WEIGHT = re.compile(r"application/vnd\.cncf\.model\.weight(?:\.v1)?\.(gguf|safetensors)")


def read(
    manifest: Manifest, config: bytes, deviations: Deviations
) -> tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]:
    """Files and config of a ModelPack manifest."""
    dialect = _dialect(manifest)
    _check_types(manifest, deviations)
    parsed = _config(manifest, config, deviations)
    if parsed is not None:
        _check_diff_ids(manifest, parsed, deviations)
    positions = Positions([name for layer in manifest.layers if (name := _old_name(layer)) and not _named(layer)])
    read_layers = (_file(number, layer, positions, deviations) for number, layer in enumerate(manifest.layers))
    return dialect, tuple(file for file in read_layers if file is not None), parsed


def _dialect(manifest: Manifest) -> Dialect:
    old = manifest.config.media_type == mediatypes.CNAI_CONFIG or manifest.artifact_type == mediatypes.CNAI_ARTIFACT
    return "cnai" if old else "cncf"


def _check_types(manifest: Manifest, deviations: Deviations) -> None:
    if not manifest.artifact_type:
        deviations.warn(
            "artifact-type-missing",
            "The manifest has no artifactType; the config's type identifies it.",
            "/artifactType",
        )
    elif manifest.artifact_type not in mediatypes.MODEL_ARTIFACTS:
        message = f"The manifest's artifactType is {manifest.artifact_type[:120]!r}."
        deviations.error("artifact-type", message, InvalidManifest, "/artifactType")
    if manifest.config.media_type not in mediatypes.MODEL_CONFIGS and not first_modctl.has_config(manifest):
        message = f"The config's media type is {manifest.config.media_type[:120]!r}."
        deviations.error("config-type", message, InvalidManifest, "/config/mediaType")
    if manifest.media_type != mediatypes.OCI_MANIFEST:
        message = f"The manifest's media type is {manifest.media_type!r} and must be {mediatypes.OCI_MANIFEST!r}."
        deviations.error("manifest-type", message, InvalidManifest, "/mediaType")


def _config(manifest: Manifest, raw: bytes, deviations: Deviations) -> ModelConfig | None:
    if first_modctl.has_config(manifest):
        return first_modctl.config(manifest, raw, deviations)
    if raw.strip() == b"{}":
        message = "The model config is an empty object; the model describes nothing of itself."
        deviations.warn("empty-config", message, CONFIG_BLOB)
        return None
    old_version = manifest.config.media_type == mediatypes.CNAI_CONFIG
    parsed = parse_config(raw, strict=deviations.mode == "strict", old_version=old_version)
    deviations.extend(parsed.deviations)
    return parsed.config


def _check_diff_ids(manifest: Manifest, config: ModelConfig, deviations: Deviations) -> None:
    diff_ids = config.modelfs.diff_ids
    if not diff_ids and first_modctl.has_config(manifest):
        return  # an image config need not list them
    if len(diff_ids) != len(manifest.layers):
        message = f"The model config lists {len(diff_ids)} diffIds and the manifest {len(manifest.layers)} layers."
        deviations.error("diff-ids-count", message, InvalidConfig, f"{CONFIG_BLOB}/modelfs/diffIds")
        return
    for number, (layer, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=True)):
        kind = mediatypes.parse_layer_type(layer.media_type)
        same_algorithm = diff_id.partition(":")[0] == layer.digest.partition(":")[0]
        if kind and kind.encoding in ("raw", "tar") and same_algorithm and diff_id != layer.digest:
            message = f"The model config's diffId {diff_id} is not the digest of its uncompressed layer {layer.digest}."
            where = CONFIG_BLOB + pointer_to("modelfs", "diffIds", number)
            deviations.error("diff-id-mismatch", message, DigestMismatch, where, number)


def _file(number: int, layer: Descriptor, positions: Positions, deviations: Deviations) -> ModelFile | None:
    if layer.media_type == mediatypes.OCI_EMPTY:
        return None
    kind = _layer_type(number, layer, deviations)
    metadata = file_metadata(number, layer, mediatypes.FILE_METADATAS, deviations)
    path = _path(layer, metadata)
    if kind.encoding != "raw":
        return ModelFile(path or f"{kind.kind}-{number}", layer, kind.kind, kind.encoding, metadata)
    if not path and (name := _old_name(layer)):
        path = positions.next(name, is_weight=True)
    if not path:
        message = f"The layer {layer.digest} has no name in its annotations and was left out."
        deviations.error("no-name", message, InvalidManifest, pointer_to("layers", number, "annotations"), number)
        return None
    if metadata and metadata.size and metadata.size != layer.size:
        message = f"The metadata of {path!r} says {metadata.size} bytes and its descriptor {layer.size}."
        deviations.warn("metadata-size", message, pointer_to("layers", number, "size"), number)
    return ModelFile(path, layer, kind.kind, "raw", metadata)


def _layer_type(number: int, layer: Descriptor, deviations: Deviations) -> LayerType:
    kind = mediatypes.parse_layer_type(layer.media_type)
    if kind is not None:
        return kind
    where = pointer_to("layers", number, "mediaType")
    if _OLD_DOCKER_WEIGHT.fullmatch(layer.media_type):
        message = f"The layer type {layer.media_type} is one of older Docker Model Runners; read as a raw weight."
        deviations.warn("layer-type-old", message, where, number)
        return LayerType("cncf", "weight", "raw")
    if first_modctl.is_layer(layer):
        message = f"The layer type {layer.media_type} is one of the first modctl; its annotations say what it holds."
        deviations.note("layer-type-old", message, where, number)
        return LayerType("cnai", first_modctl.kind(layer), mediatypes.encoding_by_suffix(layer.media_type))
    message = f"The layer type {layer.media_type[:120]!r} is not one of ModelPack's."
    deviations.error("layer-type", message, InvalidManifest, where, number)
    return LayerType("cncf", "other", mediatypes.encoding_by_suffix(layer.media_type))


def _old_name(layer: Descriptor) -> str:
    """What a weight of older Docker Model Runners is called that has no name; empty for other layers."""
    match = _OLD_DOCKER_WEIGHT.fullmatch(layer.media_type)
    return f"model.{match[1]}" if match else ""


def _named(layer: Descriptor) -> bool:
    """Whether some annotation names it; what an unreadable one says is seen later, and counts as a name here."""
    return any(
        layer.annotations.get(key) for key in (*mediatypes.FILEPATHS, *mediatypes.FILE_METADATAS, mediatypes.TITLE)
    )


def _path(layer: Descriptor, metadata: FileMetadata | None) -> str:
    return (
        first_annotation(layer, mediatypes.FILEPATHS)
        or (metadata.name if metadata else "")
        or layer.annotations.get(mediatypes.TITLE, "")
    )
