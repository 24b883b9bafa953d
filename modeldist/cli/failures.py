"""Errors of modelpack as ours, so that every failure has one sentence and one exit code."""

from __future__ import annotations

import sys

from modeldist.errors import ModeldistError


def known_failure(error: BaseException) -> ModeldistError | None:
    """`error` as an error of ours; None for what is a bug."""
    if isinstance(error, ModeldistError):
        return error
    theirs = sys.modules.get("modelpack.errors")  # an error of theirs has imported it
    if theirs is None or not isinstance(error, theirs.ModelPackError):
        return None
    from modeldist.origins.modelpack_errors import as_ours

    return as_ours(error, "")
