"""A plain summary of a model, to print or to encode as JSON."""

from __future__ import annotations

import msgspec

from modelpack.artifact import ModelArtifact
from modelpack.config import ModelConfig
from modelpack.deviations import Deviation
from modelpack.manifest import Descriptor


class FileSummary(msgspec.Struct, frozen=True):
    """One layer. `size` in bytes."""

    path: str
    size: int
    kind: str
    encoding: str
    digest: str
    media_type: str


class ArtifactSummary(msgspec.Struct, frozen=True):
    """A model at a glance. `size` in bytes of all layers, each digest once; `kinds` likewise, by kind of layer."""

    digest: str
    media_type: str
    dialect: str
    size: int
    kinds: dict[str, int]
    files: tuple[FileSummary, ...]
    config: ModelConfig | None
    deviations: tuple[Deviation, ...]


def describe(artifact: ModelArtifact, manifest: Descriptor) -> ArtifactSummary:
    """Summarise `artifact`, read from the manifest that `manifest` points to."""
    kinds: dict[str, int] = {}
    seen: set[str] = set()
    for file in artifact.files:
        if file.descriptor.digest not in seen:
            kinds[file.kind] = kinds.get(file.kind, 0) + file.descriptor.size
            seen.add(file.descriptor.digest)
    return ArtifactSummary(
        digest=manifest.digest,
        media_type=manifest.media_type,
        dialect=artifact.dialect,
        size=artifact.size,
        kinds=dict(sorted(kinds.items())),
        files=tuple(
            FileSummary(
                path=file.path,
                size=file.descriptor.size,
                kind=file.kind,
                encoding=file.encoding,
                digest=file.descriptor.digest,
                media_type=file.descriptor.media_type,
            )
            for file in artifact.files
        ),
        config=artifact.config,
        deviations=artifact.deviations,
    )
