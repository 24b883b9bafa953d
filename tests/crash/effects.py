"""What an operation does to a file system, one effect after the other, and what is on the disk when some are lost."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Literal

Kind = Literal["file", "folder", "symlink"]
ROOT = 0


@dataclass(frozen=True, slots=True)
class Made:
    """An inode, which has no name yet. `target` of a symlink."""

    inode: int
    kind: Kind
    target: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    folder: int
    name: str
    inode: int


@dataclass(frozen=True, slots=True)
class Unnamed:
    folder: int
    name: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """At once, also between folders."""

    folder: int
    name: str
    to_folder: int
    to_name: str
    inode: int


@dataclass(frozen=True, slots=True)
class Written:
    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resized:
    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Attributes:
    """Either may be None: as it was. `times` in nanoseconds."""

    inode: int
    mode: int | None = None
    times: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Synced:
    """A file's content, or a folder's names."""

    inode: int


@dataclass(frozen=True, slots=True)
class Said:
    """What the store has told its caller, which a crash of the process must not undo; of the machine where `lasts`.
    `ends`: from now on it is no longer so."""

    promise: tuple[object, ...]
    lasts: bool = False
    ends: bool = False


Effect = Made | Named | Unnamed | Renamed | Written | Resized | Attributes | Synced | Said
NAMES = (Named, Unnamed, Renamed)
CONTENT = (Written, Resized)


@dataclass(frozen=True)
class File:
    """As it is on a disk. `inode` tells hard links of one file."""

    inode: int
    content: bytes
    mode: int | None
    times: tuple[int, int] | None


Entry = File | str | None
"""A file, a symlink's target, or None for a folder."""


@dataclass
class Log:
    """`start` is what was on the disk before, durably: names by folder, content and kinds by inode."""

    names: dict[int, dict[str, int]] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    modes: dict[int, int] = field(default_factory=dict)
    kinds: dict[int, Made] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)

    def say(self, *promise: object, lasts: bool = False) -> None:
        self.effects.append(Said(promise, lasts))

    def unsay(self, *promise: object) -> None:
        self.effects.append(Said(promise, ends=True))


class Tree:
    """The names that the first `until` effects of a log leave, without the name effects `lost` (by their place in the
    log), and what has them, but for the content of files."""

    def __init__(self, log: Log, until: int, lost: Collection[int]) -> None:
        names = {folder: dict(there) for folder, there in log.names.items()}
        modes = dict(log.modes)
        times: dict[int, tuple[int, int]] = {}
        made = dict(log.kinds)
        for at, effect in enumerate(log.effects[:until]):
            if isinstance(effect, Made):
                made[effect.inode] = effect
                if effect.kind == "folder":
                    names[effect.inode] = {}
            elif isinstance(effect, Attributes):
                if effect.mode is not None:
                    modes[effect.inode] = effect.mode
                if effect.times is not None:
                    times[effect.inode] = effect.times
            elif at in lost:
                continue
            elif isinstance(effect, Named):
                names[effect.folder][effect.name] = effect.inode
            elif isinstance(effect, Unnamed):
                names[effect.folder].pop(effect.name, None)
            elif isinstance(effect, Renamed):
                if names[effect.folder].get(effect.name) == effect.inode:
                    del names[effect.folder][effect.name]
                names[effect.to_folder][effect.to_name] = effect.inode
        self._names, self._made, self._modes, self._times = names, made, modes, times
        self._paths = tuple(self._below(ROOT, ""))
        kept = [(path, inode) for path, inode in self._paths if not path.startswith("live/")]
        self._files = [inode for _, inode in kept if made[inode].kind == "file"]
        seen: dict[int, int] = {}
        self._looks = tuple(
            (path, made[inode].kind, made[inode].target, seen.setdefault(inode, len(seen)), modes.get(inode))
            for path, inode in kept
        )

    def _below(self, folder: int, prefix: str) -> Iterator[tuple[str, int]]:
        for name, inode in sorted(self._names[folder].items()):
            yield f"{prefix}{name}", inode
            if self._made[inode].kind == "folder":
                yield from self._below(inode, f"{prefix}{name}/")

    def entries(self, contents: Mapping[int, bytes]) -> Iterator[tuple[str, Entry]]:
        """Of everything that has a path, folders before what is in them; `contents` of files by their inode."""
        for path, inode in self._paths:
            made = self._made[inode]
            if made.kind == "folder":
                yield path, None
            elif made.kind == "symlink":
                yield path, made.target
            else:
                yield path, File(inode, contents[inode], self._modes.get(inode), self._times.get(inode))

    def key(self, contents: Mapping[int, bytes]) -> bytes:
        """Two disks that look the same have the same, whatever dead processes left in `live/`."""
        digest = hashlib.sha256(self._shape)
        for inode in self._files:
            digest.update(_hash(contents[inode]))
        return digest.digest()

    @cached_property
    def _shape(self) -> bytes:
        return hashlib.sha256(repr(self._looks).encode()).digest()


@dataclass(frozen=True)
class Disk:
    """A tree with `contents` of inodes instead of all that was written to them."""

    tree: Tree
    contents: Mapping[int, bytes]

    @property
    def key(self) -> bytes:
        return self.tree.key(self.contents)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        return self.tree.entries(self.contents)


@cache
def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def content_of(before: bytes, effects: Sequence[Written | Resized], *, blank: bool = False) -> bytes:
    """`blank`: their sizes reached the disk and their bytes did not."""
    found = bytearray(before)
    for effect in effects:
        if isinstance(effect, Resized):
            del found[effect.size :]
            found.extend(bytes(effect.size - len(found)))
        else:
            end = effect.offset + len(effect.data)
            found.extend(bytes(max(0, end - len(found))))
            if not blank:
                found[effect.offset : end] = effect.data
    return bytes(found)
