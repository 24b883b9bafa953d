"""What nodes did with a model that they keep."""

from __future__ import annotations

from dataclasses import dataclass

from modeldist.control.views.failures import ErrorView


@dataclass(frozen=True)
class KeepingNodeView:
    """What a node did. `state`: done; absent (the model is not there); failed, see `error`."""

    node: str
    state: str
    bytes_freed: int = 0
    error: ErrorView | None = None


@dataclass(frozen=True)
class KeepingView:
    """What nodes did. `action`: pin, unpin, evict."""

    action: str
    reference: str
    nodes: list[KeepingNodeView]
