"""The one check of file names, in this program's errors."""

from __future__ import annotations

from collections.abc import Iterable

from modeldist.errors import UnsafeArtifact
from modelpack.errors import UnsafeName
from modelpack.names import check_names


def check_paths(paths: Iterable[str], reference: str) -> None:
    """All paths of an artifact as a whole set. Raises UnsafeArtifact."""
    try:
        check_names(paths)
    except UnsafeName as error:
        raise UnsafeArtifact(f"{reference}: {error.message}", remedy=error.remedy) from error
