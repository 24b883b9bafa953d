"""What a layout can do without: blobs that nothing leads to, manifests without a name, left-overs of broken pulls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be. `bytes_freed` of disk: a blob that is somebody's file too frees none."""

    manifests: tuple[str, ...]
    blobs: tuple[str, ...]
    leftovers: int
    bytes_freed: int


def prune(layout: OciLayout, *, untagged: bool = True, dry_run: bool = False) -> Pruned:
    """Remove what no named manifest leads to, or refers to. Waits for whoever is adding to the layout.

    `untagged` False keeps manifests without a name, and what they lead to. Raises LayoutError, InvalidManifest,
    OSError.
    """
    with layout.alone():
        kept = _kept(layout) if untagged else layout.index().manifests
        needed = layout.digests_below(kept)
        gone = tuple(
            entry.digest for entry in layout.index().manifests if entry not in kept and entry.digest not in needed
        )
        unneeded = {digest: path for digest, path in _blobs(layout) if digest not in needed}
        leftovers = list(_leftovers(layout))
        freed = sum(_disk(path) for path in (*unneeded.values(), *leftovers))
        if not dry_run:
            layout.keep_only(kept)
            for path in (*unneeded.values(), *leftovers):
                path.unlink(missing_ok=True)
            for room in {path.parent for path in leftovers if path.parent.name.startswith(".")}:
                room.rmdir()
        return Pruned(gone, tuple(sorted(unneeded)), len(leftovers), freed)


def _kept(layout: OciLayout) -> tuple[Descriptor, ...]:
    """Named manifests and, over any number of steps, those that refer to them or to what they lead to."""
    entries = layout.index().manifests
    named = list(layout.refs().values())
    kept = [entry for entry in entries if entry in named]
    needed = layout.digests_below(tuple(kept))
    while more := [entry for entry in entries if entry not in kept and layout.subject(entry) in needed]:
        kept += more
        needed = layout.digests_below(tuple(kept))
    return tuple(entry for entry in entries if entry in kept)


def _blobs(layout: OciLayout) -> Iterator[tuple[str, Path]]:
    for algorithm in ("sha256", "sha512"):
        folder = layout.blobs.path / algorithm
        for path in folder.iterdir() if folder.is_dir() else ():
            if not path.name.startswith("."):
                yield f"{algorithm}:{path.name}", path


def _leftovers(layout: OciLayout) -> Iterator[Path]:
    """Files that a process began and never gave a name."""
    for pattern in (".new-*", "*/.new-*", "*/.new-*/*", "*/.partial-*"):
        yield from (path for path in layout.blobs.path.glob(pattern) if path.is_file())


def _disk(path: Path) -> int:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_blocks * 512 if found.st_nlink == 1 else 0
