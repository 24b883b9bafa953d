"""One reader per format that puts models into registries: which manifests are theirs, which files they mean.

A reader is `(manifest, config bytes, deviations) -> (dialect, files, config)`; it decides no policy, reads no blob and
does not check names (`modelpack.artifact` does). May import what reads manifests and configs, nothing that does I/O.
"""

from __future__ import annotations

from collections.abc import Callable

from modelpack import mediatypes
from modelpack.artifact import Dialect, ModelFile
from modelpack.config import ModelConfig
from modelpack.deviations import Deviations
from modelpack.dialects import docker, image, kitops, ollama, oras, packed
from modelpack.manifest import Manifest

Reader = Callable[[Manifest, bytes, Deviations], tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]]


def reader_of(manifest: Manifest) -> Reader | None:
    """Who can read `manifest`; None when it is no model."""
    config = manifest.config.media_type
    if manifest.artifact_type in mediatypes.MODEL_ARTIFACTS or config in mediatypes.MODEL_CONFIGS:
        return packed.read
    if config in mediatypes.DOCKER_AI_CONFIGS:
        return docker.read
    if config == mediatypes.KITOPS_CONFIG:
        return kitops.read
    if any(layer.media_type.startswith(mediatypes.OLLAMA_LAYER) for layer in manifest.layers):
        return ollama.read
    if oras.is_files(manifest):
        return oras.read
    return image.read if not manifest.artifact_type and image.is_image(manifest) else None
