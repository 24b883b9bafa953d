"""The one check of file names, in this program's errors."""

from __future__ import annotations

from collections.abc import Iterable

from modeldist.origins.modelpack_errors import in_our_words
from modelpack.names import check_names


def check_paths(paths: Iterable[str], reference: str) -> None:
    """All paths of an artifact as a whole set. Raises UnsafeArtifact."""
    with in_our_words(reference):
        check_names(paths)
