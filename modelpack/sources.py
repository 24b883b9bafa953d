"""The files of a directory that go into a model: a plain directory, or a snapshot in the Hugging Face cache.

A cache keeps `models--<org>--<name>/snapshots/<revision>/<file>` as links into `models--<org>--<name>/blobs`; those
links are followed, as are links within the directory. Any other link would carry a stranger's file into the model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from modelpack.errors import BuildError
from modelpack.names import check_names

_SKIPPED = (".*", "__pycache__", "*.pyc", "*.pyo", "*.pyd", "*.lock", "modelfile", "kitfile")
Wanted = Callable[[str], bool]
"""Whether a file of this path goes in."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """`path` is the name in the model, `file` where its bytes are, without links; `size` in bytes."""

    path: str
    file: Path
    size: int
    executable: bool


def collect_files(
    directory: Path,
    *,
    follow: tuple[Path, ...] = (),
    without: Path | tuple[Path, ...] = (),
    wanted: Wanted | None = None,
) -> tuple[SourceFile, ...]:
    """All files below `directory` sorted by path, hidden and temporary ones left out.

    `follow` names further directories that links may lead into; `without` files and directories to leave out. `wanted`
    chooses files by their paths instead: also hidden ones, and maybe none. Raises BuildError, UnsafeName.
    """
    root = directory.resolve()
    if not root.is_dir():
        raise BuildError(f"{directory} is no directory.", remedy="Name the directory that holds the model's files.")
    allowed = (root, *(path.resolve() for path in follow), *_cache_blobs(root))
    left_out = frozenset(path.resolve() for path in ((without,) if isinstance(without, Path) else without))
    files = sorted(_walk(root, root, allowed, left_out, wanted), key=lambda file: file.path)
    if not files and wanted is None:
        raise BuildError(f"{directory} holds no files for a model.", remedy="Hidden files and *.lock are left out.")
    check_names(file.path for file in files)
    return tuple(files)


def check_whole(directory: Path, files: Iterable[SourceFile]) -> None:
    """That no file of a snapshot has holes, as those have of which ranges alone were pulled: what is not there reads as
    zeros, and would go into a model as if it were its weights. Raises BuildError, OSError."""
    if directory.resolve().parent.name != "snapshots":
        return  # somebody's own sparse file is what it is
    for source in files:
        with source.file.open("rb", buffering=0) as file:
            if source.size and os.lseek(file.fileno(), 0, os.SEEK_HOLE) < source.size:
                raise BuildError(
                    f"Of {directory}, only parts of {source.path} are here.",
                    remedy="Pull the model without --rank and --tensors, and name that.",
                )


def hub_identity(directory: Path) -> tuple[str, str] | None:
    """`(org/name, revision)` when `directory` is a snapshot in a Hugging Face cache."""
    root = directory.resolve()
    kind, _, repo = root.parent.parent.name.partition("--")
    if root.parent.name != "snapshots" or kind != "models" or not repo:
        return None
    return repo.replace("--", "/"), root.name


def _cache_blobs(root: Path) -> tuple[Path, ...]:
    return (root.parent.parent / "blobs",) if hub_identity(root) else ()


def _walk(
    root: Path, directory: Path, allowed: tuple[Path, ...], without: frozenset[Path], wanted: Wanted | None
) -> Iterator[SourceFile]:
    with os.scandir(directory) as entries:
        for entry in entries:
            path = Path(entry.path)
            if path in without or (wanted is None and _is_skipped(entry.name)):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, path, allowed, without, wanted)
            elif wanted is None or wanted(path.relative_to(root).as_posix()):
                yield _source(path.relative_to(root).as_posix(), path, allowed)


def _is_skipped(name: str) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in _SKIPPED)


def _source(name: str, path: Path, allowed: tuple[Path, ...]) -> SourceFile:
    if not path.exists():
        raise BuildError(f"{path} is a link to a file that is missing.", remedy="Download the model again.")
    file = path.resolve()
    if not any(file.is_relative_to(place) for place in allowed):
        raise BuildError(f"{path} is a link out of the directory, to {file}.", remedy="Put a copy in its place.")
    if not file.is_file():
        what = "a link to a directory" if file.is_dir() else "neither a file nor a directory"
        raise BuildError(f"{path} is {what}.", remedy="Put a copy in its place or remove it.")
    status = file.stat()
    return SourceFile(name, file, status.st_size, bool(status.st_mode & 0o100))
