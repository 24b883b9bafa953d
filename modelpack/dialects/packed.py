"""ModelPack itself, in the versions and habits of modctl, AIKit, olot, RamaLama and older Docker Model Runners."""

from __future__ import annotations

from modelpack import mediatypes
from modelpack.artifact import Dialect, FileMetadata, ModelFile
from modelpack.config import ModelConfig, parse_config
from modelpack.deviations import Deviations
from modelpack.dialects.annotations import file_metadata, first_annotation
from modelpack.errors import DigestMismatch, InvalidConfig, InvalidManifest
from modelpack.manifest import Descriptor, Manifest
from modelpack.mediatypes import LayerType

_OLD_DOCKER_WEIGHTS = (
    "application/vnd.cncf.model.weight.v1.gguf",
    "application/vnd.cncf.model.weight.v1.safetensors",
)


def read(
    manifest: Manifest, config: bytes, deviations: Deviations
) -> tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]:
    """Files and config of a ModelPack manifest."""
    dialect = _dialect(manifest)
    _check_types(manifest, deviations)
    parsed = _config(manifest, config, deviations)
    if parsed is not None:
        _check_diff_ids(manifest, parsed, deviations)
    read_layers = (_file(number, layer, deviations) for number, layer in enumerate(manifest.layers))
    return dialect, tuple(file for file in read_layers if file is not None), parsed


def _dialect(manifest: Manifest) -> Dialect:
    old = manifest.config.media_type == mediatypes.CNAI_CONFIG or manifest.artifact_type == mediatypes.CNAI_ARTIFACT
    return "cnai" if old else "cncf"


def _check_types(manifest: Manifest, deviations: Deviations) -> None:
    if not manifest.artifact_type:
        deviations.warn("artifact-type-missing", "The manifest has no artifactType; the config's type identifies it.")
    elif manifest.artifact_type not in mediatypes.MODEL_ARTIFACTS:
        message = f"The manifest's artifactType is {manifest.artifact_type[:120]!r}."
        deviations.error("artifact-type", message, InvalidManifest)
    if manifest.config.media_type not in mediatypes.MODEL_CONFIGS:
        message = f"The config's media type is {manifest.config.media_type[:120]!r}."
        deviations.error("config-type", message, InvalidManifest)
    if manifest.media_type != mediatypes.OCI_MANIFEST:
        message = f"The manifest's media type is {manifest.media_type!r} and must be {mediatypes.OCI_MANIFEST!r}."
        deviations.error("manifest-type", message, InvalidManifest)


def _config(manifest: Manifest, raw: bytes, deviations: Deviations) -> ModelConfig | None:
    if raw.strip() == b"{}":
        deviations.warn("empty-config", "The model config is an empty object; the model describes nothing of itself.")
        return None
    old_version = manifest.config.media_type == mediatypes.CNAI_CONFIG
    parsed = parse_config(raw, strict=deviations.mode == "strict", old_version=old_version)
    deviations.extend(parsed.deviations)
    return parsed.config


def _check_diff_ids(manifest: Manifest, config: ModelConfig, deviations: Deviations) -> None:
    diff_ids = config.modelfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        message = f"The model config lists {len(diff_ids)} diffIds and the manifest {len(manifest.layers)} layers."
        deviations.error("diff-ids-count", message, InvalidConfig)
        return
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
        kind = mediatypes.parse_layer_type(layer.media_type)
        same_algorithm = diff_id.partition(":")[0] == layer.digest.partition(":")[0]
        if kind and kind.encoding in ("raw", "tar") and same_algorithm and diff_id != layer.digest:
            message = f"The model config's diffId {diff_id} is not the digest of its uncompressed layer {layer.digest}."
            deviations.error("diff-id-mismatch", message, DigestMismatch)


def _file(number: int, layer: Descriptor, deviations: Deviations) -> ModelFile | None:
    if layer.media_type == mediatypes.OCI_EMPTY:
        return None
    kind = _layer_type(layer, deviations)
    metadata = file_metadata(layer, mediatypes.FILE_METADATAS, deviations)
    path = _path(layer, metadata)
    if kind.encoding != "raw":
        return ModelFile(path or f"{kind.kind}-{number}", layer, kind.kind, kind.encoding, metadata)
    if not path:
        message = f"The layer {layer.digest} has no name in its annotations and was left out."
        deviations.error("no-name", message, InvalidManifest)
        return None
    if metadata and metadata.size and metadata.size != layer.size:
        message = f"The metadata of {path!r} says {metadata.size} bytes and its descriptor {layer.size}."
        deviations.warn("metadata-size", message)
    return ModelFile(path, layer, kind.kind, "raw", metadata)


def _layer_type(layer: Descriptor, deviations: Deviations) -> LayerType:
    kind = mediatypes.parse_layer_type(layer.media_type)
    if kind is not None:
        return kind
    if layer.media_type in _OLD_DOCKER_WEIGHTS:
        message = f"The layer type {layer.media_type} is one of older Docker Model Runners; read as a raw weight."
        deviations.warn("layer-type-old", message)
        return LayerType("cncf", "weight", "raw")
    message = f"The layer type {layer.media_type[:120]!r} is not one of ModelPack's."
    deviations.error("layer-type", message, InvalidManifest)
    return LayerType("cncf", "other", mediatypes.encoding_by_suffix(layer.media_type))


def _path(layer: Descriptor, metadata: FileMetadata | None) -> str:
    return (
        first_annotation(layer, mediatypes.FILEPATHS)
        or (metadata.name if metadata else "")
        or layer.annotations.get(mediatypes.TITLE, "")
    )
