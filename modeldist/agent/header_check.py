"""The plan held against what arrived.

Ranges are planned by a header that was read before anything could prove it. Once the pieces with those bytes are here
and proven, the header must be the one that was planned by: else a rank would load a file with holes in its tensors.
"""

from __future__ import annotations

import hashlib

from modeldist.agent.store import Store
from modeldist.artifact import Artifact, ArtifactFile
from modeldist.errors import IntegrityError

_AT_ONCE = 1 << 20  # bytes


def check_headers(store: Store, artifact: Artifact) -> None:
    """Of all files of which ranges were wanted. Raises IntegrityError naming the file."""
    for file in artifact.files:
        if file.ranges and file.header is not None and not _is_as_planned(store, file):
            raise IntegrityError(
                f"{file.path} of {artifact.name} begins otherwise than it did when its ranges were planned.",
                remedy="The origin, or somebody in between, showed a header that is not the file's; pull it whole, or "
                "plan again.",
            )


def _is_as_planned(store: Store, file: ArtifactFile) -> bool:
    assert file.header is not None
    path = store.path(file.digest)
    if path is None and (part := store.sparse(file.digest)) is not None:
        path = part.path
    if path is None:
        return False
    hasher, left = hashlib.sha256(), file.header.length
    with path.open("rb") as opened:
        while left and (chunk := opened.read(min(left, _AT_ONCE))):
            hasher.update(chunk)
            left -= len(chunk)
    return f"sha256:{hasher.hexdigest()}" == file.header.digest
