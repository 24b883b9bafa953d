"""Whether a store is sound, by nothing of the product's: files are hashed here, and names are read from their paths."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tests.chaos.matrix.published import Published


def wrongs(store: Path, models: Iterable[Published], present: Iterable[Published] = ()) -> list[str]:
    """What is corrupt in it, or lost: `models` are all there ever were, `present` those that have to be there."""
    found = []
    for blob in (store / "blobs" / "sha256").glob("*/*"):
        if _sha256(blob) != blob.name:
            found.append(f"{blob} is not what its name says")
    contents = {sha: name for model in models for name, sha in model.digests.items()}
    snapshots: dict[Path, set[str]] = {}
    for file in (store / "hub").glob("models--*/snapshots/*/*"):
        snapshots.setdefault(file.parent, set()).add(digest := f"sha256:{_sha256(file)}")
        if contents.get(digest) != file.name:
            found.append(f"{file} is of no model that was ever published")
    for ref in (store / "hub").glob("models--*/refs/*"):
        if not (ref.parents[1] / "snapshots" / ref.read_text()).is_dir():
            found.append(f"{ref} names a snapshot that is not there")
    wholes = [set(model.digests.values()) for model in models]
    found += [f"{folder} is not whole" for folder, files in snapshots.items() if files not in wholes]
    for model in present:
        if set(model.digests.values()) not in snapshots.values():
            found.append(f"{model.reference} was finished and is lost")
    return found


def _sha256(file: Path) -> str:
    hashed = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(1 << 20):
            hashed.update(piece)
    return hashed.hexdigest()
