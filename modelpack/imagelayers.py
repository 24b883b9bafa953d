"""Layers of a container image laid over each other, as image-spec 1.1 (layer.md) has it, without unpacking any twice.

Layers are unpacked from the last to the first: what a later layer has, or has taken away by a whiteout (`.wh.<name>`,
`.wh..wh..opq` for all that a directory had), is left out of the earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from modelpack.errors import InvalidTar
from modelpack.names import MAX_DIRECTORIES
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
        self._above_this: set[str] = set()  # the directories that this layer's names lie in
        self._left_out: set[str] = set()  # this layer's files that a later one hides

    def next_layer(self) -> None:
        """The layer has been read to its end."""
        for names, name in self._this:
            names.add(name)
        self._directories |= self._above_this
        self._this.clear()
        self._above_this.clear()
        self._left_out.clear()

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
        self._add_above(plain)
        if not self._seen(plain, directory=directory):
            if not directory:
                self._left_out.add(plain)
            return None
        target = self._linked(entry) if entry.type == "hardlink" else entry.target
        return TarEntry(name, entry.type, entry.size, entry.mode, target)

    def _add_above(self, name: str) -> None:
        for above in _above(name):
            if above in self._above_this:
                return  # and so are those above it
            self._above_this.add(above)
            if len(self._above_this) > MAX_DIRECTORIES:
                raise InvalidTar(f"The archive has more than {MAX_DIRECTORIES} directories below /{self._prefix}.")

    def _linked(self, link: TarEntry) -> str:
        """The target's name below the subtree. When a later layer hides it, its content is not there: nothing is
        unpacked that the image does not show."""
        target = self._below(link.target)
        if target is None:
            why = f"which is not below /{self._prefix}"
        elif target in self._left_out:
            why = "which a later layer replaces or takes away; such images are not unpacked"
        else:
            return target
        raise InvalidTar(
            f"The archive's hard link {link.name[:200]!r} leads to {link.target[:200]!r}, {why}.",
            remedy="Build the image with a copy in place of the hard link, or with all layers squashed into one.",
        )

    def _below(self, name: str) -> str | None:
        start = 0
        while name.startswith(("./", "/"), start):
            start += 1 if name[start] == "/" else 2
        name = name[start:]
        rest = name.removeprefix(self._prefix)
        return rest if rest and rest != name else None

    def _seen(self, name: str, *, directory: bool) -> bool:
        if name in self._files or name in self._gone or (not directory and name in self._directories):
            return False
        return not any(
            above in self._files or above in self._gone or above in self._opaque for above in (*_above(name), "")
        )


def _above(name: str) -> Iterator[str]:
    """Its directories, the nearest first."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
