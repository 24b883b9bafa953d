"""Whether an agent's Hello is acceptable, and how often it shall report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modeldist.errors import ControlPlaneRefused
from modeldist.session.messages import OLDEST_PROTOCOL, PROTOCOL, Hello

MAX_NAME = 255  # characters of a node id, a name, an address, a label
MAX_LABELS = 64


@dataclass(frozen=True, slots=True)
class ReportIntervals:
    """Seconds between two reports of one agent, growing with their number so that the control plane hears about
    `full_at / longest` reports a second at most."""

    shortest: float = 0.25
    longest: float = 2.0
    full_at: int = 5000  # agents

    def of(self, agents: int) -> float:
        return min(max(self.longest * agents / self.full_at, self.shortest), self.longest)


def check_enrolled(hello: Hello, *, node: str, required: bool, enrolled: Callable[[str], bool]) -> None:
    """`node`: whose own token opened the session, empty where that is anybody's. `enrolled`: whether a node has a token
    of its own. Raises ControlPlaneRefused."""
    if node and hello.node != node:
        raise ControlPlaneRefused(
            f"Agent {hello.name[:MAX_NAME]!r} says that it is node {hello.node[:MAX_NAME]!r}, "
            f"with the token of node {node}.",
            remedy="Give each node a store of its own, and enrol it with a join token of its own.",
        )
    if not node and enrolled(hello.node):
        raise ControlPlaneRefused(
            f"Agent {hello.name[:MAX_NAME]!r} says that it is node {hello.node[:MAX_NAME]!r}, which is enrolled and "
            "has a token of its own, and shows another.",
            remedy="If its store is a copy, remove the file node-id from it. If it lost what it was given, or shall be "
            f"enrolled no more: `modeldist token revoke {hello.node[:MAX_NAME]}` on the control plane's machine.",
        )
    if required and not node:
        raise ControlPlaneRefused(
            f"Agent {hello.name[:MAX_NAME]!r} is not enrolled, and this cluster requires TLS between its nodes.",
            remedy="Make a join token (`modeldist token join`) and give it to the agent: --join-token-file.",
        )


def spoken_by_both(oldest: int, newest: int, ours: tuple[int, int] = (OLDEST_PROTOCOL, PROTOCOL)) -> int | None:
    """The newest version in both ranges, an agent's and `ours`; None when there is none."""
    common = min(newest, ours[1])
    return common if common >= max(oldest, ours[0]) else None


def check_hello(hello: Hello) -> int:
    """The newest version of the protocol that both sides speak. Raises ControlPlaneRefused: there is none, or values
    are out of bounds."""
    if (protocol := spoken_by_both(hello.oldest or hello.protocol, hello.protocol)) is None:
        older = "agent" if hello.protocol < PROTOCOL else "control plane"
        raise ControlPlaneRefused(
            f"Agent {hello.name[:MAX_NAME]!r} ({hello.version[:MAX_NAME]}) speaks session protocol {hello.protocol}, "
            f"the control plane {PROTOCOL}.",
            remedy=f"Upgrade the {older}.",
        )
    location = hello.location
    texts = [hello.node, hello.instance, hello.name, hello.version, hello.address, location.rack, location.zone]
    texts += [*hello.labels.keys(), *hello.labels.values()]
    if not hello.node or any(len(text) > MAX_NAME or not text.isprintable() for text in texts):
        raise ControlPlaneRefused(
            f"A node id has 1 to {MAX_NAME} printable characters; every other name, address and label has no more.",
            remedy="Correct the agent's name, location and labels in its configuration.",
        )
    if len(hello.labels) > MAX_LABELS:
        raise ControlPlaneRefused(
            f"Node {hello.node} has {len(hello.labels)} labels, more than {MAX_LABELS}.",
            remedy="Remove labels from the agent's configuration.",
        )
    return protocol
