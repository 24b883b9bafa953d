"""What an artifact takes in memory, about."""

from __future__ import annotations

from modeldist.artifact import Artifact

LARGE = 256 << 10  # bytes; from here on its answers are counted until they are taken
FILE_BYTES = 1000  # of one of its files: names, digest, what is wanted of it


def size_of(artifact: Artifact) -> int:
    """Bytes."""
    return len(artifact.files) * FILE_BYTES + sum(len(chunks.digests) for chunks in artifact.chunks)
