"""The artifact's names, checked as a whole set, and its archives unpacked into the snapshot.

Unpacked files are ordinary copies: read-only, executable where the archive says so, not shared with the store. Links
of an archive stay links: symlinks that lead to nothing outside the snapshot, hard links among the archive's own files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modeldist.agent.store import trees
from modeldist.agent.store.blobs import Blobs
from modeldist.artifact import Artifact, Digest
from modeldist.errors import StorageError, UnsafeArtifact, Unsupported
from modelpack.errors import InvalidTar, UnsafeName
from modelpack.names import NameSet, check_name


def check_names(artifact: Artifact) -> NameSet:
    """The set of the artifact's plain file names. Raises UnsafeArtifact."""
    names = NameSet()
    with _safe(artifact):
        for file in artifact.files:
            if file.encoding == "raw":
                names.add_file(file.path)
    return names


def check_tag(artifact: Artifact) -> None:
    """That its tag can be a path. Raises UnsafeArtifact."""
    with _safe(artifact):
        check_name(artifact.tag)


@contextmanager
def _safe(artifact: Artifact) -> Iterator[None]:
    try:
        yield
    except UnsafeName as error:
        raise UnsafeArtifact(f"{artifact.reference}: {error.message}", remedy=error.remedy) from error


def unpacked_bytes(artifact: Artifact) -> int:
    """Bytes that unpacking will take at least, or, of an archive that is not compressed, at most."""
    return sum(max(file.size, file.unpacked) for file in artifact.files if file.encoding != "raw")


@dataclass(frozen=True)
class Unpacked:
    """What the archives held: files, and the paths of symlinks."""

    files: dict[str, trees.TreeFile]
    links: tuple[str, ...]


def unpack(artifact: Artifact, names: NameSet, blobs: Blobs, folder: Path, claim: Callable[[int], None]) -> Unpacked:
    """Unpack the artifact's archives below `folder`, made even when there are none. `names` are those of
    `check_names`, and grow. `claim` is told the bytes of each file before it is made.

    Raises UnsafeArtifact, StorageError, and what `claim` raises.
    """
    folder.mkdir()
    found: dict[str, trees.TreeFile] = {}
    links: list[str] = []
    archives = [file for file in artifact.files if file.encoding != "raw"]
    if not archives:
        return Unpacked(found, ())
    from modelpack.imagelayers import unpacking_order
    from modelpack.tarlayer import extract_tar

    for number, select in unpacking_order([file.subtree for file in archives]):
        file = archives[number]
        blob = blobs.path(file.digest)
        if blob is None:
            raise StorageError(f"{file.digest} is not complete in the store.", remedy="Pull the artifact again.")
        try:
            with blob.open("rb") as source:
                unpacked = extract_tar(
                    source, file.encoding, folder, links=True, names=names, select=select, claim=claim
                )
        except (UnsafeName, InvalidTar) as error:
            raise UnsafeArtifact(
                f"{_called(artifact)}, layer {file.path} ({file.digest}): {error.message}", remedy=error.remedy
            ) from error
        for member in unpacked.files:
            _seal(folder / member.path, executable=member.executable)
            found[member.path] = trees.entry(Digest(member.digest), member.size)
        links += [path for path, _ in unpacked.links]
    if not found and (subtree := next((file.subtree for file in archives if file.subtree), "")):
        raise Unsupported(
            f"{_called(artifact)} is a container image that holds nothing below /{subtree}.",
            remedy="Models are taken from images only as KServe does; check the reference.",
        )
    return Unpacked(found, tuple(links))


def _called(artifact: Artifact) -> str:
    """As people refer to it."""
    return f"{artifact.name}:{artifact.tag}" if artifact.tag else artifact.reference


def linked(folder: Path, links: Iterable[str], tree: Mapping[str, trees.TreeFile]) -> dict[str, trees.TreeFile]:
    """Entries for the symlinks in `folder` that lead to files of `tree`: a link counts as the file it stands for."""
    top = os.path.realpath(folder)
    targets = {path: os.path.relpath(os.path.realpath(f"{top}/{path}"), top) for path in links}
    return {path: tree[target] for path, target in targets.items() if target in tree}


def _seal(path: Path, *, executable: bool) -> None:
    """Read-only and on the disk: a crash must not leave a file of the right size and no content."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchmod(fd, 0o555 if executable else 0o444)
        os.fsync(fd)
    finally:
        os.close(fd)
