"""Errors of modelpack and of files as ours, so that every failure has one sentence and one exit code."""

from __future__ import annotations

import os
import sys

from modeldist.errors import ModeldistError, StorageError, UsageError
from modeldist.file_failures import is_telling, of_a_file


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
        return _of_a_file(error, os.fsdecode(named))
    if isinstance(error, OSError) and is_telling(error):
        return _of_a_file(error, "Reading or writing failed")
    theirs = sys.modules.get("modelpack.errors")  # an error of theirs has imported it
    if theirs is None or not isinstance(error, theirs.ModelPackError):
        return None
    from modeldist.origins.modelpack_errors import as_ours

    return as_ours(error, "")


def _of_a_file(error: OSError, what: str) -> StorageError:
    return of_a_file(
        error,
        f"{what}: {error.strerror}.",
        forbidden="Let this user read and write it, or choose another directory.",
        otherwise="Check the path and the disk under it.",
    )
