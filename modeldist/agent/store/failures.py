"""What a failed system call means to a user of the store."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modeldist.errors import ModeldistError, StorageError, StoreNotWritable
from modeldist.file_failures import is_full, of_a_file

FREE_SPACE = "Free some space (`modeldist gc`, `modeldist rm`) or move the store to a larger disk."
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP)


class ShardLocked(StorageError):
    """Another process, or another Partial of this one, is fetching the shard."""

    code = "shard_locked"


@contextmanager
def naming(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into NotEnoughSpace, StoreNotWritable or StorageError about `path`."""
    try:
        yield
    except OSError as error:
        raise failure(error, action, path) from error


def failure(error: OSError, action: str, path: Path) -> StorageError:
    """The error a user sees for `error`, which happened while trying to `action` at `path`."""
    said = error.strerror or str(error)
    if error.errno in _IN_THE_WAY:
        there = Path(os.fsdecode(error.filename2 or error.filename or path))
        there = next((place for place in (there, *there.parents) if os.path.lexists(place)), there)
        return StoreNotWritable(
            f"Cannot {action} at {path}: {there} is in the way ({said}).",
            remedy="Move that away, or choose another directory as the store's root.",
        )
    room = f" {free_bytes(path):,} bytes are free." if is_full(error) else ""
    return of_a_file(
        error,
        f"Cannot {action} at {path}: {said}.{room}",
        full=FREE_SPACE,
        forbidden="Choose a directory this user may write as the store's root.",
        otherwise="Check the disk under the store.",
    )


def disk_failure(path: Path, error: OSError | ModeldistError) -> ModeldistError:
    """What a failure while storing a piece in `path` means: it is of this node's disk, whoever sent the piece."""
    return error if isinstance(error, ModeldistError) else failure(error, "write a piece", path)


def free_bytes(path: Path) -> int:
    """Bytes an ordinary user may still write on the filesystem of `path` or its nearest existing parent."""
    for place in (path, *path.parents):
        try:
            found = os.statvfs(place)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return 0
