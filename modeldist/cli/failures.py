"""Errors of modelpack and of files as ours, so that every failure has one sentence and one exit code."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from modeldist.errors import ModeldistError, NotEnoughSpace, StorageError, StoreNotWritable, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def known_failure(error: BaseException) -> ModeldistError | None:
    """`error` as an error of ours; None for what is a bug."""
    if isinstance(error, ModeldistError):
        return error
    if isinstance(error, UnicodeEncodeError):
        return UsageError(
            f"{ascii(error.object)[:200]} cannot be written as {error.encoding.upper()}.",
            remedy="Names, paths and references are UTF-8 here: rename it, or set a UTF-8 locale (LC_ALL=C.UTF-8).",
        )
    if isinstance(error, OSError) and isinstance(named := error.filename2 or error.filename, str | bytes):
        return _of_a_file(error, Path(os.fsdecode(named)))
    theirs = sys.modules.get("modelpack.errors")  # an error of theirs has imported it
    if theirs is None or not isinstance(error, theirs.ModelPackError):
        return None
    from modeldist.origins.modelpack_errors import as_ours

    return as_ours(error, "")


def _of_a_file(error: OSError, path: Path) -> StorageError:
    said = f"{path}: {error.strerror}."
    if error.errno in _FULL:
        return NotEnoughSpace(said, remedy="Free some space there (`modeldist gc`), or choose another directory.")
    if error.errno in _FORBIDDEN:
        return StoreNotWritable(said, remedy="Let this user read and write it, or choose another directory.")
    return StorageError(said, remedy="Check the path and the disk under it.")
