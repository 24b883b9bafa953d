"""Tar layers: list them, or unpack them without ever writing outside the destination.

Files and directories only, unless links are asked for; devices and sparse files never. A symlink may lead only to
what lies below the destination, a hard link only to a file earlier in its archive. Names are checked as a set. Nothing
is written through a symlink, whoever put it there: every directory is opened without following links, every file is
created anew, and an archive's own symlinks are made after its last file.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from modelpack.errors import InvalidTar, UnsafeName
from modelpack.imagelayers import Select, everything
from modelpack.mediatypes import Encoding
from modelpack.names import NameSet
from modelpack.tarsource import TarLimits, open_tar
from modelpack.tarstream import TarEntry, TarStream

DEFAULT_LIMITS = TarLimits()

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEDY = "The archive is refused as a whole; tell its publisher."


@dataclass(frozen=True, slots=True)
class ExtractedFile:
    """A file that was written. `path` is relative to the destination, `size` in bytes, `digest` of its content."""

    path: str
    size: int
    digest: str
    executable: bool


@dataclass(frozen=True, slots=True)
class ExtractedTar:
    """What one archive became. `diff_id` is the sha256 of the uncompressed archive, `size` its bytes."""

    files: tuple[ExtractedFile, ...]
    links: tuple[tuple[str, str], ...]  # path, target
    diff_id: str
    size: int


@dataclass(frozen=True, slots=True)
class TarListing:
    """What one archive holds; names are relative and checked, directories among them."""

    entries: tuple[TarEntry, ...]
    diff_id: str
    size: int


def tar_entries(
    source: BinaryIO,
    encoding: Encoding,
    *,
    limits: TarLimits = DEFAULT_LIMITS,
    links: bool = False,
    names: NameSet | None = None,
    select: Select = everything,
) -> TarListing:
    """Read a whole archive and write nothing.

    `names` are those of other layers that will be unpacked beside it; `select` says what of it counts, and as what.
    Raises InvalidTar, UnsafeName.
    """
    with open_tar(source, encoding, limits) as plain:
        entries = tuple(checked_entries(TarStream(plain), limits, links, names, select))
        return TarListing(entries, plain.diff_id, plain.size)


def extract_tar(
    source: BinaryIO,
    encoding: Encoding,
    destination: Path,
    *,
    limits: TarLimits = DEFAULT_LIMITS,
    links: bool = False,
    names: NameSet | None = None,
    select: Select = everything,
    claim: Callable[[int], None] = lambda size: None,
) -> ExtractedTar:
    """Unpack below `destination`, which is made if missing; what is there already is never replaced.

    Modes become 0644 or 0755, owners and times those of now. After an error, files of the archive may be left: unpack
    into a directory of its own and rename it. `claim` is told the bytes of each file before it is made; what it raises
    ends the unpacking. Raises InvalidTar, UnsafeName, OSError of the file system.
    """
    destination.mkdir(parents=True, exist_ok=True)
    files: dict[str, ExtractedFile] = {}
    symlinks: list[tuple[str, str]] = []
    with open_tar(source, encoding, limits) as plain, closing(_Tree(destination)) as tree:
        stream = TarStream(plain)
        for entry in checked_entries(stream, limits, links, names, select):
            if entry.type == "directory":
                tree.make_directory(entry.name)
            elif entry.type == "symlink":
                symlinks.append((entry.name, entry.target))
            elif entry.type == "hardlink":
                tree.hard_link(entry.name, entry.target)
                files[entry.name] = replace(files[entry.target], path=entry.name)
            else:
                claim(entry.size)
                digest = tree.write(entry.name, stream.body(), executable=bool(entry.mode & 0o100))
                files[entry.name] = ExtractedFile(entry.name, entry.size, digest, bool(entry.mode & 0o100))
        for name, target in symlinks:
            tree.link(name, target)
        return ExtractedTar(tuple(files.values()), tuple(symlinks), plain.diff_id, plain.size)


def checked_entries(
    stream: TarStream, limits: TarLimits, links: bool, names: NameSet | None, select: Select
) -> Iterator[TarEntry]:
    """The entries under clean names. The archive's own top directory (`./`) is left out."""
    names = names or NameSet()
    files: set[str] = set()
    for number, found in enumerate(stream, start=1):
        if number > limits.entries:
            raise InvalidTar(f"The archive has more than {limits.entries} entries.")
        if (entry := select(found)) is None:
            continue
        name = _clean(entry)
        if not name and entry.type == "directory":
            continue
        if entry.type == "directory":
            names.add_directory(name)
        elif entry.type == "file":
            names.add_file(name)
            files.add(name)
        elif entry.type == "symlink" and links:
            names.add_file(name)
            _check_link(name, entry.target)
        elif entry.type == "hardlink" and links:
            names.add_file(name)
            if _without_dot(entry.target) not in files:
                raise UnsafeName(
                    f"The archive's hard link {name!r} leads to {entry.target[:200]!r}, which is no file before it.",
                    remedy=_REMEDY,
                )
            files.add(name)
        else:
            raise InvalidTar(f"The archive's {name!r} is a {entry.type}, which is not unpacked.")
        target = _without_dot(entry.target) if entry.type == "hardlink" else entry.target
        yield replace(entry, name=name, target=target)


def _clean(entry: TarEntry) -> str:
    """The name without `./` in front and, for a directory, one slash behind; empty for the top directory."""
    name = _without_dot(entry.name)
    if entry.type != "directory":
        return name
    return name[:-1] if name == "." or (name.endswith("/") and name != "/") else name


def _without_dot(name: str) -> str:
    start = 0
    while name.startswith("./", start):
        start += 2
    return name[start:]


def _check_link(name: str, target: str) -> None:
    """Up first, then only down: such a target stays inside whatever other links its way leads over."""
    up, parts = 0, target.split("/")
    while up < len(parts) and parts[up] == "..":
        up += 1
    down = parts[up:]
    if up > name.count("/") or not down or any(part in ("", ".", "..") for part in down):
        raise UnsafeName(
            f"The archive's link {name!r} leads to {target[:200]!r}, which may be outside of it.", remedy=_REMEDY
        )


class _Tree:
    """Writes below one directory by file descriptors, so that no name is ever resolved through a link."""

    def __init__(self, destination: Path) -> None:
        self._root = os.open(destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._root)

    def make_directory(self, name: str) -> None:
        with self._parent(name + "/"):
            pass

    def write(self, name: str, pieces: Iterator[bytes], *, executable: bool) -> str:
        """Create the file and give the digest of its content."""
        content = hashlib.sha256()
        with self._parent(name) as parent, open(self._create(name, parent, executable), "wb") as file:
            for piece in pieces:
                file.write(piece)
                content.update(piece)
        return "sha256:" + content.hexdigest()

    def link(self, name: str, target: str) -> None:
        with self._parent(name) as parent:
            try:
                os.symlink(target, name.rpartition("/")[2], dir_fd=parent)
            except FileExistsError:
                raise _exists(name) from None

    def hard_link(self, name: str, target: str) -> None:
        """A second name for a file this archive has made."""
        with self._parent(target) as source, self._parent(name) as parent:
            try:
                os.link(
                    target.rpartition("/")[2],
                    name.rpartition("/")[2],
                    src_dir_fd=source,
                    dst_dir_fd=parent,
                    follow_symlinks=False,
                )
            except FileExistsError:
                raise _exists(name) from None

    @staticmethod
    def _create(name: str, parent: int, executable: bool) -> int:
        try:
            return os.open(name.rpartition("/")[2], _NEW_FILE, 0o755 if executable else 0o644, dir_fd=parent)
        except FileExistsError:
            raise _exists(name) from None

    @contextmanager
    def _parent(self, name: str) -> Iterator[int]:
        """The directory of `name`, made where missing."""
        current = os.dup(self._root)
        try:
            for part in name.split("/")[:-1]:
                child = _enter(part, current, name)
                os.close(current)
                current = child
            yield current
        finally:
            os.close(current)


def _enter(part: str, parent: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(part, 0o755, dir_fd=parent)
    try:
        return os.open(part, _DIRECTORY, dir_fd=parent)
    except OSError as problem:
        if problem.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    raise UnsafeName(f"The archive's {name!r} leads through {part!r}, which is a link or a file.", remedy=_REMEDY)


def _exists(name: str) -> UnsafeName:
    return UnsafeName(f"The archive's {name!r} exists already.", remedy="Unpack into an empty directory.")
