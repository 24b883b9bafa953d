"""The inodes of a mounted snapshot: its files and the folders that their paths name. Pure; nothing of it ever changes.

Inode numbers follow from the sorted paths, so they are the same in every mount of the same artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from modeldist.errors import UnsafeArtifact

ROOT = 1
"""What FUSE calls the mount's own directory (FUSE_ROOT_ID)."""


@dataclass(frozen=True)
class Entry:
    """One inode. `path` is relative, "" for the root; `size` in bytes, 0 for a folder."""

    inode: int
    parent: int
    path: str
    size: int = 0
    folder: bool = False
    executable: bool = False

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Tree:
    """`entries` by inode; `children` of each folder by name, in order of their names."""

    entries: Mapping[int, Entry]
    children: Mapping[int, Mapping[str, int]]
    size: int = field(default=0)

    def look_up(self, parent: int, name: str) -> Entry | None:
        """What `name` is in a folder; None when there is no such thing, or `parent` is a file."""
        found = self.children.get(parent, {}).get(name)
        return None if found is None else self.entries[found]

    def folder(self, inode: int) -> Iterator[Entry]:
        """What is in a folder, in order of names. Raises KeyError for a file."""
        return (self.entries[child] for child in self.children[inode].values())

    def links(self, entry: Entry) -> int:
        """As `ls -l` counts them: a folder has its name, its `.` and the `..` of each folder in it."""
        return 2 + sum(child.folder for child in self.folder(entry.inode)) if entry.folder else 1


def tree_of(files: Iterable[tuple[str, int, bool]]) -> Tree:
    """Of (path, size in bytes, whether it is executable). Raises UnsafeArtifact for a path that is no relative one, is
    there twice, or is a file and a folder; artifacts were checked for that when they were resolved."""
    wanted = sorted(files)
    entries = {ROOT: Entry(ROOT, ROOT, "", folder=True)}
    children: dict[int, dict[str, int]] = {ROOT: {}}

    def add(parent: int, path: str, name: str, **what: object) -> int:
        inode = len(entries) + 1
        entries[inode] = Entry(inode, parent, path, **what)  # type: ignore[arg-type]
        children[parent][name] = inode
        return inode

    for path, size, executable in wanted:
        *folders, name = path.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in (*folders, name)):
            raise UnsafeArtifact(f"{path!r} is no path that a snapshot can have.")
        at = ROOT
        for depth, part in enumerate(folders, 1):
            found = children[at].get(part)
            at = add(at, "/".join(folders[:depth]), part, folder=True) if found is None else found
            if not entries[at].folder:
                raise UnsafeArtifact(f"{entries[at].path!r} is a file and a folder.")
            children.setdefault(at, {})
        if name in children[at]:
            raise UnsafeArtifact(f"{path!r} is there twice.")
        add(at, path, name, size=size, executable=executable)
    ordered = {inode: MappingProxyType(dict(sorted(names.items()))) for inode, names in children.items()}
    return Tree(entries, ordered, sum(size for _, size, _ in wanted))
