"""Whether an agent's Hello is acceptable, and how often it shall report."""

from __future__ import annotations

from dataclasses import dataclass

from modeldist.errors import ControlPlaneRefused
from modeldist.session.messages import PROTOCOL, Hello

MAX_NAME = 256  # characters of a node id, a name, an address, a label
MAX_LABELS = 64


@dataclass(frozen=True, slots=True)
class ReportIntervals:
    """Seconds between two reports of one agent, growing with their number so that the control plane hears about
    `full_at / longest` reports a second at most."""

    shortest: float = 0.1
    longest: float = 2.0
    full_at: int = 5000  # agents

    def of(self, agents: int) -> float:
        return min(max(self.longest * agents / self.full_at, self.shortest), self.longest)


def check_hello(hello: Hello) -> None:
    """Raises ControlPlaneRefused: another protocol version, or values out of bounds."""
    if hello.protocol != PROTOCOL:
        older = "agent" if hello.protocol < PROTOCOL else "control plane"
        raise ControlPlaneRefused(
            f"Agent {hello.name[:MAX_NAME]!r} ({hello.version[:MAX_NAME]}) speaks session protocol {hello.protocol}, "
            f"the control plane {PROTOCOL}.",
            remedy=f"Upgrade the {older}.",
        )
    texts = (hello.node, hello.name, hello.version, hello.address, hello.location.rack, hello.location.zone)
    if not hello.node or not hello.node.isprintable() or any(len(text) > MAX_NAME for text in texts):
        raise ControlPlaneRefused(
            f"A node id has 1 to {MAX_NAME} printable characters, and so has every name in a greeting.",
            remedy="Correct the agent's name, rack and zone in its configuration.",
        )
    if len(hello.labels) > MAX_LABELS or any(len(k) > MAX_NAME or len(v) > MAX_NAME for k, v in hello.labels.items()):
        raise ControlPlaneRefused(
            f"Node {hello.node} has more than {MAX_LABELS} labels or one longer than {MAX_NAME} characters.",
            remedy="Remove labels from the agent's configuration.",
        )
