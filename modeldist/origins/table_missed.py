"""That a model names a chunk table which could not be had when it was resolved: said as a warning, and looked after
again when it is resolved again."""

from __future__ import annotations

from modeldist.artifact import Artifact

_BEGINNING = "The chunk table of this model cannot be read"


def warning(reason: str) -> str:
    """For a model that is used without its table."""
    return f"{_BEGINNING}, so its pieces are proven only by whole files: {reason}"


def missed(artifact: Artifact) -> bool:
    """Whether it was resolved without the table that it names."""
    return any(said.startswith(_BEGINNING) for said in artifact.warnings)
