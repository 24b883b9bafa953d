"""From a reference to a typed model in one call, whatever tool wrote it, without a byte of its weights.

model = read_model(OciLayout.open(path), "v1")                      # modelpack.read_model
model = await read_model(Reference.parse("registry.example/org/model:v1"), client)     # modelpack.oci.read_model
for file in model.artifact.files: ...
for deviation in model.artifact.deviations: ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelpack.artifact import ModelArtifact, read_artifact
from modelpack.deviations import Mode
from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor, Manifest


@dataclass(frozen=True, slots=True)
class ReadModel:
    """`descriptor` points to the manifest itself, also where an index led to it, and says no more than that."""

    descriptor: Descriptor
    manifest: Manifest
    artifact: ModelArtifact


def read_model(
    layout: OciLayout, ref: str = "", *, mode: Mode = "strict", labels: Mapping[str, str] | None = None
) -> ReadModel:
    """The model called `ref` in a layout. `mode` as for `read_artifact`, `labels` as for `choose_manifest`.

    Raises what is wrong with it: LayoutError, InvalidManifest, InvalidConfig, UnsupportedArtifact, UnsafeName,
    SizeMismatch, DigestMismatch.
    """
    found, manifest = layout.manifest(ref, labels)
    descriptor = Descriptor(media_type=found.media_type, digest=found.digest, size=found.size)
    config = layout.blobs.read(manifest.config, "config")
    return ReadModel(descriptor, manifest, read_artifact(manifest, config, mode=mode))
