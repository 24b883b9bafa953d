"""What a failed system call on a file means to a user, whoever's file it is."""

from __future__ import annotations

import errno

from modeldist.errors import NotEnoughSpace, StorageError, StoreNotWritable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_LIMITS = {errno.EMFILE: "limit of open files (`ulimit -n`)", errno.EFBIG: "file size limit (`ulimit -f`)"}
_OF_NO_FILE = (*_FULL, errno.EROFS, *_LIMITS, errno.ENFILE, errno.EIO)


def is_telling(error: OSError) -> bool:
    """Whether it says what is wrong by itself, without the name of a file: `write` and `fsync` give none."""
    return error.errno in _OF_NO_FILE


def is_full(error: OSError) -> bool:
    """Whether it is for want of room: on the disk, or of what this user may have of it."""
    return error.errno in _FULL


def of_a_file(
    error: OSError,
    said: str,
    *,
    forbidden: str,
    otherwise: str,
    full: str = "Free some space there (`modeldist gc`), or choose another directory.",
    then: str = "",
) -> StorageError:
    """The error to raise, whose sentence is `said`. The remedies: `full` where there is no room, `forbidden` where this
    user may not, `otherwise` where no more is known than `said` says; `then` is what to do after any of them."""
    kind, remedy = StorageError, otherwise
    if is_full(error):
        kind, remedy = NotEnoughSpace, full
    elif error.errno in _FORBIDDEN:
        kind, remedy = StoreNotWritable, forbidden
    elif error.errno == errno.ENFILE:
        remedy = "All programs of this machine have too many files open: look for the one (`lsof`)."
    elif error.errno in _LIMITS:
        remedy = f"Raise this process's {_LIMITS[error.errno]}."
    return kind(said, remedy=f"{remedy} {then}".strip())
