"""Where models are on the nodes of a Ray cluster. Plain values: Ray moves them between processes by pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modeldist.errors import PullFailed


@dataclass(frozen=True)
class NodeCopy:
    """A model on one node. `node` is Ray's id of it, `path` the directory there; `resolved` is what the reference
    meant, with a digest or commit in place of a tag. Bytes that its agent read from the `origin`, got from `peers`, or
    had (`local`). `stale` says why nobody could be asked whether the reference still means this; empty when somebody
    was."""

    node: str
    path: Path
    resolved: str
    origin: int
    peers: int
    local: int
    stale: str = ""


@dataclass(frozen=True)
class Prefetched:
    """One reference, and its copies by Ray's id of the node."""

    reference: str
    copies: Mapping[str, NodeCopy]

    @property
    def path(self) -> Path:
        """The directory, which is the same on every node. Raises PullFailed where it is not."""
        return Path(self._only("path", {str(copy.path) for copy in self.copies.values()}))

    @property
    def resolved(self) -> str:
        """What the reference meant. Raises PullFailed where it was not the same on every node."""
        return self._only("meaning", {copy.resolved for copy in self.copies.values()})

    def _only(self, what: str, values: set[str]) -> str:
        if len(values) == 1:
            return values.pop()
        raise PullFailed(
            f"{self.reference} has not one {what}: {', '.join(sorted(values)) or 'it is on no node'}.",
            remedy="Give all agents the same --store and --hub, or take each node's path from `copies`. Where a tag "
            "moved in between, ask again.",
        )
