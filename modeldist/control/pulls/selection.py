"""Which nodes a pull means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from modeldist.errors import NotEnoughNodes, NotFound, UsageError
from modeldist.session.messages import Hello

_LIST = "`modeldist status --server URL` (GET /api/v1/nodes)"


@dataclass(frozen=True)
class Selector:
    """Exactly one of: named `nodes`; `everyone`; connected nodes, those that carry all `labels` where there are any,
    and of these `count`, or `percentage` of them rounded up, where one of both is set.

    `everyone` includes nodes that join while the pull runs. The other kinds are fixed when the pull is made.
    """

    nodes: tuple[str, ...] = ()
    everyone: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    count: int = 0
    percentage: int = 0

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Selector:
        return cls(**{**stored, "nodes": tuple(stored.get("nodes", ()))})


def select(
    selector: Selector, connected: Mapping[str, Hello], known: Collection[str], busy: Mapping[str, int]
) -> list[str]:
    """Node ids that `selector` means now.

    `known` are ids of nodes that connected once; `busy` counts the running pulls of a node. Raises NotFound when a
    named node is unknown or nothing matches, NotEnoughNodes when more were asked for than are connected, UsageError
    when a name means several nodes.
    """
    if selector.everyone:
        return sorted(connected)
    if selector.nodes:
        return sorted({_named(name, connected, known) for name in selector.nodes})
    wanted = selector.labels.items()
    found = [node for node, hello in connected.items() if wanted <= hello.labels.items()]
    labels = ", ".join(f"{key}={value}" for key, value in sorted(wanted))
    if not found and not selector.count:
        raise NotFound(
            f"No connected node carries {labels}." if labels else "No node is connected.",
            remedy=f"{_LIST} has the nodes that are connected, and their labels; start an agent with them.",
        )
    if selector.count > len(found):
        raise NotEnoughNodes(
            f"{selector.count} nodes {f'that carry {labels} ' if labels else ''}were asked for and {len(found)} are "
            "connected.",
            remedy="Ask for fewer, or start more agents.",
        )
    share = -(-len(found) * selector.percentage // 100)  # rounded up: some of any nodes is at least one
    idlest = sorted(found, key=lambda node: (busy.get(node, 0), node))
    return sorted(idlest[: selector.count or share or None])


def _named(name: str, connected: Mapping[str, Hello], known: Collection[str]) -> str:
    if name in connected or name in known:
        return name
    called = [node for node, hello in connected.items() if hello.name == name]
    if len(called) > 1:
        raise UsageError(f"{len(called)} nodes are called {name!r}.", remedy="Use their node ids.")
    if not called:
        raise NotFound(
            f"No node {name!r} ever connected.",
            remedy=f"{_LIST} has those that did, by name and id; start its agent first.",
        )
    return called[0]
