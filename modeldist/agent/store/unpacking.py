"""The artifact's names, checked as a whole set, and its archives unpacked into the snapshot.

Unpacked files are ordinary copies: read-only, executable where the archive says so, not shared with the store.
"""

from __future__ import annotations

import os
from pathlib import Path

from modeldist.agent.store import trees
from modeldist.agent.store.blobs import Blobs
from modeldist.artifact import Artifact, Digest
from modeldist.errors import IntegrityError, StorageError, UnsafeArtifact
from modelpack.errors import InvalidTar, UnsafeName
from modelpack.names import NameSet, check_name


def check_names(artifact: Artifact, *others: str) -> NameSet:
    """The set of the artifact's plain file names. Raises UnsafeArtifact, also when one of `others` is unsafe."""
    names = NameSet()
    try:
        for file in artifact.files:
            if file.encoding == "raw":
                names.add_file(file.path)
        for other in others:
            check_name(other)
    except UnsafeName as error:
        raise UnsafeArtifact(f"{artifact.reference}: {error.message}", remedy=error.remedy) from error
    return names


def unpack(artifact: Artifact, blobs: Blobs, folder: Path) -> dict[str, trees.TreeFile]:
    """Unpack the artifact's archives below `folder` (made even when there are none); what they held.

    Raises UnsafeArtifact, IntegrityError, StorageError.
    """
    from modelpack.tarlayer import extract_tar

    folder.mkdir()
    names = check_names(artifact)
    found: dict[str, trees.TreeFile] = {}
    for file in artifact.files:
        if file.encoding == "raw":
            continue
        blob = blobs.path(file.digest)
        if blob is None:
            raise StorageError(f"{file.digest} is not complete in the store.", remedy="Pull the artifact again.")
        try:
            with blob.open("rb") as source:
                unpacked = extract_tar(source, file.encoding, folder, names=names)
        except UnsafeName as error:
            raise UnsafeArtifact(f"{file.path}: {error.message}", remedy=error.remedy) from error
        except InvalidTar as error:
            raise IntegrityError(f"{file.path}: {error.message}", remedy=error.remedy) from error
        for member in unpacked.files:
            _seal(folder / member.path, executable=member.executable)
            found[member.path] = trees.entry(Digest(member.digest), member.size)
    return found


def _seal(path: Path, *, executable: bool) -> None:
    """Read-only and on the disk: a crash must not leave a file of the right size and no content."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchmod(fd, 0o555 if executable else 0o444)
        os.fsync(fd)
    finally:
        os.close(fd)
