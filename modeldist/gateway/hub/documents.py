"""Repositories and trees as the hub's API describes them, from an artifact's files.

Nothing speaks of Xet: huggingface_hub then reads plain HTTP, though it could do otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from modeldist.artifact import Artifact, ArtifactFile, algorithm


def etag(file: ArtifactFile) -> str:
    """What names a file's content on the hub: the sha256 of an LFS file, the git blob's sha1 of any other."""
    return file.digest.partition(":")[2]


def info(artifact: Artifact, *, blobs: bool) -> dict[str, Any]:
    """Answer of `/api/models/{repo}`; with `blobs` it has sizes and digests of files."""
    return {
        "_id": artifact.revision[:24],
        "id": artifact.repo_id,
        "modelId": artifact.repo_id,
        "sha": artifact.revision,
        "private": False,
        "gated": False,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": [_sibling(file, blobs=blobs) for file in artifact.files],
    }


def tree(artifact: Artifact, under: str, *, recursive: bool) -> list[dict[str, Any]] | None:
    """Answer of `/api/models/{repo}/tree/{revision}`: files and directories below `under`, or right in it. None where
    the repository has no such directory."""
    prefix = f"{under}/" if under else ""
    entries: list[dict[str, Any]] = []
    seen: set[str] = set()
    for file in artifact.files:
        if not file.path.startswith(prefix):
            continue
        inner = file.path[len(prefix) :].split("/")
        for depth in range(1, len(inner) if recursive else min(2, len(inner))):
            folder = prefix + "/".join(inner[:depth])
            if folder not in seen:
                seen.add(folder)
                entries.append(_directory(artifact, folder))
        if recursive or len(inner) == 1:
            entries.append(_entry(file))
    return entries if entries or not under else None


def paths_info(artifact: Artifact, paths: Iterable[str]) -> list[dict[str, Any]]:
    """Answer of `/api/models/{repo}/paths-info/{revision}`: of those paths that there are."""
    files = {file.path: file for file in artifact.files}
    folders = {parent for path in files for parent in _parents(path)}
    found: list[dict[str, Any]] = []
    for path in dict.fromkeys(name.strip("/") for name in paths):
        if file := files.get(path):
            found.append(_entry(file))
        elif path in folders:
            found.append(_directory(artifact, path))
    return found


def _parents(path: str) -> Iterable[str]:
    names = path.split("/")
    return ("/".join(names[:depth]) for depth in range(1, len(names)))


def _directory(artifact: Artifact, path: str) -> dict[str, Any]:
    named = hashlib.sha1(f"{artifact.revision}{path}".encode(), usedforsecurity=False).hexdigest()
    return {"type": "directory", "path": path, "oid": named, "size": 0}


def _entry(file: ArtifactFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": file.path, "size": file.size, "oid": _git_blob(file)}
    if _is_lfs(file):
        pointer = len(_pointer(file))
        entry["lfs"] = {"oid": etag(file), "size": file.size, "pointerSize": pointer}
    return entry


def _sibling(file: ArtifactFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.path}
    sibling: dict[str, Any] = {"rfilename": file.path, "size": file.size, "blobId": _git_blob(file)}
    if _is_lfs(file):
        sibling["lfs"] = {"sha256": etag(file), "size": file.size, "pointerSize": len(_pointer(file))}
    return sibling


def _is_lfs(file: ArtifactFile) -> bool:
    return algorithm(file.digest) == "sha256"


def _git_blob(file: ArtifactFile) -> str:
    """The git blob's sha1: of an LFS file, that of its pointer, which says no more than digest and size."""
    if not _is_lfs(file):
        return etag(file)
    text = _pointer(file)
    return hashlib.sha1(b"blob %d\0" % len(text) + text, usedforsecurity=False).hexdigest()


def _pointer(file: ArtifactFile) -> bytes:
    """https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""
    return f"version https://git-lfs.github.com/spec/v1\noid {file.digest}\nsize {file.size}\n".encode()
