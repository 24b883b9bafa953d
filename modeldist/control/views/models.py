"""What references mean, and the models that are known."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FileView:
    path: str
    digest: str
    size: int
    kind: str


@dataclass(frozen=True)
class ArtifactView:
    """What a reference means now. `reference` is pinned."""

    digest: str
    reference: str
    repo_id: str
    revision: str
    origin: str
    size: int
    files: list[FileView]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ModelView:
    """A known artifact. `references` meant it when last resolved; `holders` counts connected nodes that have it
    complete."""

    digest: str
    reference: str
    references: list[str]
    origin: str
    size: int
    files: int
    resolved_at: float
    holders: int


@dataclass(frozen=True)
class ModelPage:
    models: list[ModelView]
    next: str | None = None


@dataclass(frozen=True)
class HoldersView:
    """Where a model is: connected nodes that have it complete."""

    digest: str
    nodes: list[str]
