"""Taking a snapshot out of a Hugging Face cache without breaking what else is in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from modeldist.agent.store.atomic import sync_directory, sync_tree, unique
from modeldist.agent.store.hub import Repository


def withdraw(repository: Repository, revision: str, blob_names: Iterable[str]) -> None:
    """Remove refs to the revision, its snapshot and tree, and those of `blob_names` no other snapshot links to.

    The order keeps the cache consistent for readers at every moment: no ref to a missing snapshot, no dangling link.
    """
    folder = repository.snapshot(revision)
    if not repository.folder.is_dir():
        return
    repository.locks.mkdir(parents=True, exist_ok=True)
    repository.building.mkdir(exist_ok=True)
    with repository.lock_snapshot(revision):
        for left in repository.building.glob(f"{revision}.*"):
            shutil.rmtree(left, ignore_errors=True)  # of a process that died: we hold the lock
        _remove_refs(repository.refs, revision)
        sync_tree(repository.refs)
        aside = repository.building / f"{revision}.{unique()}"
        with suppress(FileNotFoundError):
            folder.rename(aside)
            sync_directory(repository.snapshots)  # its holes must not outlive the list of them
        shutil.rmtree(aside, ignore_errors=True)
        repository.tree(revision).unlink(missing_ok=True)
        repository.selection(revision).unlink(missing_ok=True)
        shutil.rmtree(repository.folder / ".no_exist" / revision, ignore_errors=True)
        used = _symlinked(repository.snapshots)
        for name in set(blob_names) - used:
            with repository.lock(name):
                (repository.blobs / name).unlink(missing_ok=True)
    remove_empty(repository.folder)
    for changed in (repository.folder / name for name in ("trees", "selections", "blobs", "snapshots")):
        sync_tree(changed)
    sync_directory(repository.hub)


def own_bytes(folder: Path) -> int:
    """Bytes of disk that only this folder's files take: unpacked archives, not links to blobs."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            found = (Path(place) / name).lstat()
            if found.st_nlink == 1:
                total += found.st_blocks * 512
    return total


def _remove_refs(refs: Path, revision: str) -> None:
    for path in sorted(refs.rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):  # not empty
                path.rmdir()
        elif path.read_bytes() == revision.encode():
            path.unlink()


def _symlinked(snapshots: Path) -> set[str]:
    """Names of blobs that files of the remaining snapshots are symlinks to."""
    found = set()
    for place, _, names in os.walk(snapshots):
        for name in names:
            path = Path(place) / name
            if path.is_symlink():
                found.add(path.readlink().name)
    return found


def remove_empty(repository: Path) -> None:
    """The folders that nothing is left in; that of snapshots, without which huggingface_hub calls a repository corrupt,
    only with the repository. (A process that died may have left a file in another one.)"""
    for name in (".building", ".no_exist", "trees", "selections", "refs", "blobs"):
        with suppress(OSError):  # not empty, or not there
            (repository / name).rmdir()
    with suppress(OSError):
        if all(left.name == "snapshots" for left in repository.iterdir()):
            with suppress(FileNotFoundError):
                (repository / "snapshots").rmdir()
            repository.rmdir()
