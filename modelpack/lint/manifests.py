"""Rules for a manifest, and what reading it as a model finds. No blob is read but the config."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from modelpack import mediatypes
from modelpack.artifact import ModelArtifact, check_bytes, read_artifact
from modelpack.deviations import Deviation, Severity, pointer_to
from modelpack.document import read_object
from modelpack.errors import (
    DigestMismatch,
    InvalidConfig,
    InvalidManifest,
    ModelPackError,
    SizeMismatch,
    UnsafeName,
    UnsupportedArtifact,
)
from modelpack.lint.findings import Findings
from modelpack.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest
from modelpack.timestamps import is_rfc3339

_LARGE = MAX_MANIFEST_BYTES * 3 // 4
_CREATED = "org.opencontainers.image.created"

_RULE_OF = {
    "artifact-type": "artifact-type",
    "artifact-type-missing": "artifact-type",
    "capabilities-embedding": "capability-removed",
    "config-type": "config-media-type",
    "config-type-old": "vendor-cnai",
    "config-unreadable": "config-invalid",
    "diff-id": "diff-id-digest",
    "diff-id-mismatch": "diff-id-mismatch",
    "diff-ids-count": "diff-ids-count",
    "empty-config": "config-empty",
    "file-metadata": "file-metadata-invalid",
    "layer-type": "layer-type",
    "layer-type-old": "layer-type-old",
    "manifest-type": "manifest-media-type",
    "metadata-size": "file-metadata-size",
    "missing-member": "config-missing-member",
    "no-name": "layer-without-name",
    "old-name": "config-old-name",
    "param-size": "param-size",
    "unknown-member": "config-unknown-member",
    "wrong-value": "config-wrong-value",
}
"""Rules by the codes of deviations."""

_RULE_FOR: tuple[tuple[type[ModelPackError], str], ...] = (
    (UnsafeName, "name-unsafe"),
    (InvalidConfig, "config-invalid"),
    (DigestMismatch, "blob-digest"),
    (SizeMismatch, "blob-size"),
    (InvalidManifest, "manifest-invalid"),
)


@dataclass(frozen=True, slots=True)
class ReadModel:
    """`artifact` is None for what is no model, or one that must not be read."""

    manifest: Manifest
    artifact: ModelArtifact | None

    @property
    def is_modelpack(self) -> bool:
        """Whether the rules for ModelPack's manifests and configs apply."""
        types = {self.manifest.artifact_type, self.manifest.config.media_type}
        return bool(types & (mediatypes.MODEL_ARTIFACTS | mediatypes.MODEL_CONFIGS))


def check_manifest(raw: bytes, manifest: Manifest, config: bytes, findings: Findings) -> ReadModel:
    """Every rule that a manifest and the bytes of its config can break."""
    model = ReadModel(manifest, _read(manifest, config, findings))
    if model.is_modelpack:
        _check_document(raw, findings)
        _check_vendor(manifest, findings)
    if len(raw) > _LARGE:
        findings.add("manifest-large", f"The manifest has {len(raw)} bytes.")
    _check_descriptor(manifest.config, "config", ("config",), None, findings)
    if manifest.config.data:
        _check_data(manifest.config, ("config",), None, findings)
    for number, layer in enumerate(manifest.layers):
        _check_descriptor(layer, f"layer {number}", ("layers", number), number, findings)
    created = manifest.annotations.get(_CREATED)
    if created is not None and not is_rfc3339(created):
        where = pointer_to("annotations", _CREATED)
        findings.add("annotation-date", f"The annotation {_CREATED} is {created[:80]!r}.", pointer=where)
    return model


def _read(manifest: Manifest, config: bytes, findings: Findings) -> ModelArtifact | None:
    try:
        artifact = read_artifact(manifest, config, mode="lenient")
    except UnsupportedArtifact as problem:
        name = "no-model" if "holds no files" not in problem.message else "no-layers"
        findings.add(name, problem.message)
        return None
    except ModelPackError as problem:
        name = next((name for kind, name in _RULE_FOR if isinstance(problem, kind)), "manifest-invalid")
        findings.add(name, problem.message)
        return None
    foreign = artifact.dialect not in ("cncf", "cnai")
    for deviation in artifact.deviations:
        _add(deviation, findings, foreign=foreign)
    if foreign:
        findings.add("other-format", f"The artifact is in the format {artifact.dialect}.")
    return artifact


def _add(deviation: Deviation, findings: Findings, *, foreign: bool) -> None:
    # What an older version of the specification allowed is no error in an artifact of that version, and what breaks
    # ModelPack's rules none in another format.
    severity: Severity | None = deviation.severity if foreign or deviation.severity == "note" else None
    findings.add(
        _RULE_OF[deviation.code],
        deviation.message,
        pointer=deviation.pointer,
        layer=deviation.layer,
        severity=severity,
    )


def _check_document(raw: bytes, findings: Findings) -> None:
    """What the typed manifest no longer tells."""
    document = read_object(raw, limit=MAX_MANIFEST_BYTES, what="manifest", error=InvalidManifest)
    if "mediaType" not in document:
        findings.add("manifest-media-type", "The manifest has no mediaType.", pointer="/mediaType")


def _check_vendor(manifest: Manifest, findings: Findings) -> None:
    old = [
        ("/artifactType", manifest.artifact_type),
        ("/config/mediaType", manifest.config.media_type),
        *((pointer_to("layers", n, "mediaType"), layer.media_type) for n, layer in enumerate(manifest.layers)),
    ]
    for pointer, media_type in old:
        if media_type.startswith("application/vnd.cnai."):
            findings.add("vendor-cnai", f"The media type {media_type[:120]!r} is of the vendor cnai.", pointer=pointer)
    for number, layer in enumerate(manifest.layers):
        for key in layer.annotations:
            if key.startswith("org.cnai.model."):
                where = pointer_to("layers", number, "annotations", key)
                message = f"The annotation {key[:120]!r} is of the vendor cnai."
                findings.add("vendor-cnai", message, pointer=where, layer=number)


def _check_descriptor(
    descriptor: Descriptor, what: str, where: tuple[str | int, ...], layer: int | None, findings: Findings
) -> None:
    if not descriptor.digest.startswith("sha256:"):
        algorithm = descriptor.digest.partition(":")[0]
        message = f"The digest of the {what} is of the algorithm {algorithm}."
        findings.add("digest-algorithm", message, pointer=pointer_to(*where, "digest"), layer=layer)
    if descriptor.urls:
        message = f"The {what} names {len(descriptor.urls)} URLs, the first {descriptor.urls[0][:120]!r}."
        findings.add("foreign-urls", message, pointer=pointer_to(*where, "urls"), layer=layer)
    if descriptor.data and layer is not None:
        _check_data(descriptor, where, layer, findings)


def _check_data(descriptor: Descriptor, where: tuple[str | int, ...], layer: int | None, findings: Findings) -> None:
    try:
        check_bytes(base64.b64decode(descriptor.data, validate=True), descriptor, "embedded data of")
    except (binascii.Error, ValueError, ModelPackError) as problem:
        message = f"The data embedded for {descriptor.digest} is not its content: {problem}"
        findings.add("embedded-data", message, pointer=pointer_to(*where, "data"), layer=layer)
