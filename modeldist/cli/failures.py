"""Errors of modelpack as ours, so that every failure has one sentence and one exit code."""

from __future__ import annotations

import sys

from modeldist.errors import ModeldistError, UsageError


def known_failure(error: BaseException) -> ModeldistError | None:
    """`error` as an error of ours; None for what is a bug."""
    if isinstance(error, ModeldistError):
        return error
    if isinstance(error, UnicodeEncodeError):
        return UsageError(
            f"{ascii(error.object)[:200]} cannot be written as {error.encoding.upper()}.",
            remedy="Names, paths and references are UTF-8 here: rename it, or set a UTF-8 locale (LC_ALL=C.UTF-8).",
        )
    theirs = sys.modules.get("modelpack.errors")  # an error of theirs has imported it
    if theirs is None or not isinstance(error, theirs.ModelPackError):
        return None
    from modeldist.origins.modelpack_errors import as_ours

    return as_ours(error, "")
