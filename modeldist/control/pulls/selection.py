"""Which nodes a pull means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from modeldist.errors import NotFound, UsageError
from modeldist.session.messages import Hello


@dataclass(frozen=True)
class Selector:
    """Exactly one of: named `nodes`, `everyone`, nodes that carry all `labels`, any `count` nodes.

    `everyone` includes nodes that join while the pull runs. The other kinds are fixed when the pull is made.
    """

    nodes: tuple[str, ...] = ()
    everyone: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    count: int = 0

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
    named node is unknown or nothing matches, UsageError when a name means several nodes or too many were asked for.
    """
    if selector.everyone:
        return sorted(connected)
    if selector.nodes:
        return sorted({_named(name, connected, known) for name in selector.nodes})
    if selector.labels:
        wanted = selector.labels.items()
        found = sorted(node for node, hello in connected.items() if wanted <= hello.labels.items())
        if not found:
            labels = ", ".join(f"{key}={value}" for key, value in sorted(wanted))
            raise NotFound(
                f"No connected node carries {labels}.", remedy="See the labels that nodes carry in the list of nodes."
            )
        return found
    if selector.count > len(connected):
        raise UsageError(
            f"{selector.count} nodes were asked for and {len(connected)} are connected.",
            remedy="Ask for fewer, or start more agents.",
        )
    return sorted(sorted(connected, key=lambda node: (busy.get(node, 0), node))[: selector.count])


def _named(name: str, connected: Mapping[str, Hello], known: Collection[str]) -> str:
    if name in connected or name in known:
        return name
    called = [node for node, hello in connected.items() if hello.name == name]
    if len(called) > 1:
        raise UsageError(f"{len(called)} nodes are called {name!r}.", remedy="Use their node ids.")
    if not called:
        raise NotFound(
            f"No node {name!r} ever connected.", remedy="See the list of nodes for their ids; start its agent first."
        )
    return called[0]
