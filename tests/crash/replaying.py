"""A disk of the model made a real folder."""

from __future__ import annotations

import os
from pathlib import Path

from tests.crash.effects import Disk, File


def make(disk: Disk, root: Path) -> None:
    """Below `root`, which is empty."""
    files: dict[int, str] = {}
    modes: list[tuple[str, File]] = []
    for path, entry in disk.entries():
        place = f"{root}/{path}"
        if entry is None:
            Path(place).mkdir()
        elif isinstance(entry, str):
            Path(place).symlink_to(entry)
        elif (first := files.get(entry.inode)) is not None:
            Path(place).hardlink_to(first)
        else:
            files[entry.inode] = place
            modes.append((place, entry))
            fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                if entry.content:
                    os.write(fd, entry.content) if any(entry.content) else os.ftruncate(fd, len(entry.content))
            finally:
                os.close(fd)
    for place, entry in modes:
        if entry.mode is not None:
            Path(place).chmod(entry.mode)
        if entry.times is not None:
            os.utime(place, ns=entry.times)


def look(root: Path) -> dict[str, tuple[object, ...]]:
    """What is there, to be compared: by path the kind, the content, the mode, the links."""
    found: dict[str, tuple[object, ...]] = {}
    groups: dict[int, str] = {}
    for path in sorted(root.rglob("*"), key=str):
        name, there = str(path.relative_to(root)), path.lstat()
        if path.is_symlink():
            found[name] = ("symlink", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder",)
        else:
            first = groups.setdefault(there.st_ino, name)
            found[name] = ("file", path.read_bytes(), there.st_mode, first)
    return found
