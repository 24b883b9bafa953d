"""Layers of a container image laid over each other, as image-spec 1.1 (layer.md) has it, without unpacking any twice.

Layers are unpacked from the last to the first: what a later layer has, or has taken away by a whiteout (`.wh.<name>`,
`.wh..wh..opq` for all that a directory had), is left out of the earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from modelpack.tarstream import TarEntry

Select = Callable[[TarEntry], TarEntry | None]
"""What an entry of an archive is unpacked as; None: not at all."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def everything(entry: TarEntry) -> TarEntry:
    """Selects an archive as it is."""
    return entry


def unpacking_order(subtrees: Sequence[str]) -> Iterator[tuple[int, Select]]:
    """Which of an artifact's archives to unpack when, and what of each. `subtrees`: for each archive, in the order of
    the manifest, the directory that it is a layer of; empty for an archive by itself."""
    for number, subtree in enumerate(subtrees):
        if not subtree:
            yield number, everything
    overlays: dict[str, Overlay] = {}
    for number, subtree in reversed(list(enumerate(subtrees))):
        if subtree:
            overlay = overlays.setdefault(subtree, Overlay(subtree))
            yield number, overlay.select
            overlay.next_layer()


class Overlay:
    """Selects from one layer after the other, the last layer first, what is seen below `subtree` (without slashes)."""

    def __init__(self, subtree: str) -> None:
        self._prefix = f"{subtree}/"
        self._files: set[str] = set()
        self._directories: set[str] = set()
        self._gone: set[str] = set()
        self._opaque: set[str] = set()
        self._this: list[tuple[set[str], str]] = []  # what this layer does to those before it

    def next_layer(self) -> None:
        """The layer has been read to its end."""
        for names, name in self._this:
            names.add(name)
        self._this.clear()

    def select(self, entry: TarEntry) -> TarEntry | None:
        """The entry under its name below the subtree."""
        name = self._below(entry.name)
        if name is None:
            return None
        plain = name.rstrip("/")
        parent, _, last = plain.rpartition("/")
        if last == _OPAQUE:
            self._this.append((self._opaque, parent))
            return None
        if last.startswith(_WHITEOUT):
            gone = last.removeprefix(_WHITEOUT)
            self._this.append((self._gone, f"{parent}/{gone}" if parent else gone))
            return None
        directory = entry.type == "directory"
        # Also what a later layer replaced or took away hides what earlier layers have in its place, or above it.
        self._this.append((self._directories if directory else self._files, plain))
        self._this += [(self._directories, above) for above in _above(plain)]
        if not self._seen(plain, directory=directory):
            return None
        target = self._below(entry.target) if entry.type == "hardlink" else entry.target
        return TarEntry(name, entry.type, entry.size, entry.mode, target or "")

    def _below(self, name: str) -> str | None:
        while name.startswith(("./", "/")):
            name = name[1:] if name[0] == "/" else name[2:]
        rest = name.removeprefix(self._prefix)
        return rest if rest and rest != name else None

    def _seen(self, name: str, *, directory: bool) -> bool:
        if name in self._files or name in self._gone or (not directory and name in self._directories):
            return False
        return not any(
            above in self._files or above in self._gone or above in self._opaque for above in (*_above(name), "")
        )


def _above(name: str) -> list[str]:
    """Its directories, the nearest first."""
    found = []
    while "/" in name:
        name = name.rpartition("/")[0]
        found.append(name)
    return found
