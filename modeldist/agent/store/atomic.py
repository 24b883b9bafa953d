"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def unique() -> str:
    """A name nobody else uses."""
    return os.urandom(16).hex()


def temporary(folder: Path) -> Path:
    """A path in `folder` nobody else uses."""
    return folder / unique()


def sync_directory(folder: Path) -> None:
    """Make the names in `folder` survive a crash of the machine."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """`os.write` until everything is written."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_tree(folder: Path) -> None:
    """As `sync_directory`, of `folder` and all folders in it, the inner ones first. None of them need be there."""
    for place, _, _ in os.walk(folder, topdown=False):
        sync_directory(Path(place))


def write_atomically(
    path: Path | str, data: bytes, *, tmp: Path, mode: int = 0o600, whole: bool = False, durable: bool = False
) -> None:
    """Replace the file `path` by `data`. `tmp` is a folder on the same filesystem.

    Readers see the old content or the new. With `whole` the same holds after a crash of the machine; with `durable` it
    is the new content then.
    """
    scratch = f"{tmp}/{unique()}"
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            write_all(fd, data)
            if whole or durable:
                os.fdatasync(fd)
        finally:
            os.close(fd)
        os.rename(scratch, path)  # noqa: PTH104 - hot
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(scratch)  # noqa: PTH108
        raise
    if durable:
        sync_directory(Path(path).parent)


def write_once(path: Path, text: str, tmp: Path, *, damaged: Callable[[str], bool]) -> str:
    """The content of a file that is written once, by whichever process comes first. One that is `damaged` is written
    again: it is not synced, so a crash of the machine may leave it empty."""
    if not path.exists():
        scratch = temporary(tmp)
        scratch.write_text(text)
        try:
            path.hardlink_to(scratch)
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    found = path.read_text("utf-8", "replace")
    if not damaged(found):
        return found
    write_atomically(path, text.encode(), tmp=tmp, durable=True)
    return text
