"""Container images that carry a model below /models, as KServe mounts and copies them ("modelcar")."""

from __future__ import annotations

import re

from modelpack import mediatypes
from modelpack.artifact import Dialect, ModelFile
from modelpack.config import ModelConfig, ModelFS
from modelpack.deviations import Deviations
from modelpack.dialects.foreign import config_document, root_diff_ids
from modelpack.manifest import Manifest

SUBTREE = "models"
_LAYER = re.compile(
    r"application/vnd\.(oci\.image\.layer\.v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar(\.gzip)?)"
)


def is_image(manifest: Manifest) -> bool:
    """Whether all its layers are those of a container image."""
    return bool(manifest.layers) and all(_LAYER.fullmatch(layer.media_type) for layer in manifest.layers)


def read(
    manifest: Manifest, config: bytes, deviations: Deviations
) -> tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]:
    """Each layer as an archive of which only what is below /models counts, laid over the layers before it."""
    files = tuple(
        ModelFile(f"layer-{number}", layer, "other", mediatypes.encoding_by_suffix(layer.media_type), subtree=SUBTREE)
        for number, layer in enumerate(manifest.layers)
    )
    diff_ids = root_diff_ids(config_document(config, deviations))
    return "image", files, ModelConfig(modelfs=ModelFS(diff_ids=diff_ids))
