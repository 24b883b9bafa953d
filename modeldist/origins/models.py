"""From a manifest as modelpack reads it to our files and warnings; shared by registries and layout directories."""

from __future__ import annotations

from modeldist.artifact import ArtifactFile, Digest, parse_digest
from modeldist.errors import Unsupported
from modelpack.artifact import read_artifact
from modelpack.manifest import Manifest


def files_of(manifest: Manifest, config: bytes) -> tuple[tuple[ArtifactFile, ...], tuple[str, ...]]:
    """(files, warnings). Deviations that lose nothing are not worth a warning. Raises modelpack's errors."""
    model = read_artifact(manifest, config, mode="lenient")
    files = tuple(
        ArtifactFile(
            file.path,
            checked_sha256(file.descriptor.digest),
            file.descriptor.size,
            file.kind,
            file.encoding,
            executable=file.executable,
            subtree=file.subtree,
            unpacked=max(0, file.metadata.size) if file.metadata and file.encoding != "raw" else 0,
        )
        for file in model.files
    )
    return files, tuple(found.message for found in model.deviations if found.severity != "note")


def checked_sha256(digest: str) -> Digest:
    """Raises Unsupported: the store addresses by sha256."""
    if not digest.startswith("sha256:"):
        raise Unsupported(
            f"{digest[:80]} is not a sha256 digest.", remedy="Ask the publisher to push the artifact with sha256."
        )
    return parse_digest(digest)
