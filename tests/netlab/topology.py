"""Nodes, racks, origin and control plane as network namespaces, joined by bridges and shaped links.

    node ──veth── [rack bridge] ──uplink── [core bridge] ──veth── origin
                                                │
                                             control (not shaped)

Every link is a pair of veth ends. The end at the node shapes what the node sends, the end at the bridge what it
receives; an uplink is shaped both ways. All bridges live in one namespace of their own, so nothing of the lab, not even
an address, can be seen from the machine's own network.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from types import TracebackType
from typing import Self

from tests.netlab import namespaces
from tests.netlab.namespaces import batch, inside, own, run, shape
from tests.netlab.scenario import LabScenario

CONTROL = "control"
ORIGIN = "origin"
_NET = "10.77.0"
_FABRIC = "fabric"

MTU = 1500
"""Bytes in a frame."""

CONGESTION = "cubic"
"""TCP's congestion control in the lab: Linux's default, whatever this machine has chosen for itself."""


class Topology:
    """Context manager: the namespaces are there inside the block and gone after it, whatever happened in it."""

    def __init__(self, scenario: LabScenario, *, congestion: str = CONGESTION, mtu: int = MTU) -> None:
        self._scenario = scenario
        self._congestion = congestion
        self._mtu = mtu
        self._made: list[str] = []
        roles = [CONTROL, ORIGIN, *(node.name for node in scenario.nodes)]
        self._addresses = {role: f"{_NET}.{number}" for number, role in enumerate(roles, start=2)}

    def address(self, role: str) -> str:
        return self._addresses[role]

    def inside(self, role: str) -> list[str]:
        """What goes in front of a command to run it as this node, `CONTROL` or `ORIGIN`."""
        return inside(own(role))

    def __enter__(self) -> Self:
        namespaces.sweep()
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def uplink_bytes(self) -> dict[str, tuple[int, int]]:
        """rack -> (bytes in, bytes out) over its uplink since the lab began, from the interface's counters."""
        return {rack: self._counters(f"up-{rack}") for rack in self._scenario.racks}

    def uplink_since(self, before: Mapping[str, tuple[int, int]]) -> dict[str, int]:
        """rack -> bytes over its uplink since `uplink_bytes` said `before`, in the busier direction."""
        now = self.uplink_bytes()
        return {rack: max(now[rack][0] - then[0], now[rack][1] - then[1]) for rack, then in before.items()}

    def _counters(self, interface: str) -> tuple[int, int]:
        folder = f"/sys/class/net/{interface}/statistics"
        read = run(*inside(own(_FABRIC)), "cat", f"{folder}/rx_bytes", f"{folder}/tx_bytes")
        received, sent = map(int, read.split())
        return received, sent

    def _remove(self) -> None:
        for namespace in reversed(self._made):
            namespaces.remove(namespace)
        self._made.clear()

    # --- building --------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        scenario = self._scenario
        self._namespace(_FABRIC)
        namespaces.leave_bridges_alone(own(_FABRIC))
        self._bridge("core")
        for rack in scenario.racks:
            self._bridge(f"b-{rack}")
            self._uplink(rack)
        self._member(CONTROL, "core", None, None)
        self._member(ORIGIN, "core", scenario.origin, scenario.origin)
        for node in scenario.nodes:
            self._member(node.name, f"b-{node.rack}" if node.rack else "core", node.up, node.down)

    def _namespace(self, role: str) -> None:
        run("ip", "netns", "add", own(role))
        self._made.append(own(role))
        batch(own(role), ["link set lo up"])

    def _bridge(self, name: str) -> None:
        batch(own(_FABRIC), [f"link add {name} mtu {self._mtu} type bridge forward_delay 0", f"link set {name} up"])

    def _uplink(self, rack: str) -> None:
        """`up-<rack>` hangs on the rack's bridge: what it receives comes into the rack, what it sends leaves."""
        ends = (f"up-{rack}", f"core-{rack}")
        batch(
            own(_FABRIC),
            [
                f"link add {ends[0]} mtu {self._mtu} type veth peer name {ends[1]} mtu {self._mtu}",
                f"link set {ends[0]} master b-{rack} up",
                f"link set {ends[1]} master core up",
            ],
        )
        if self._scenario.uplink is not None:
            for end in ends:
                self._shape(_FABRIC, end, self._scenario.uplink)

    def _member(self, role: str, bridge: str, up: float | None, down: float | None) -> None:
        self._namespace(role)
        outer = f"v-{role}"
        batch(
            own(_FABRIC),
            [
                f"link add {outer} mtu {self._mtu} type veth peer name eth0 mtu {self._mtu} netns {own(role)}",
                f"link set {outer} master {bridge} up",
            ],
        )
        address = self.address(role)
        # By route: the setting of a namespace only takes what the machine allows everybody.
        route = f"route change {_NET}.0/24 dev eth0 proto kernel scope link src {address} congctl {self._congestion}"
        batch(own(role), [f"address add {address}/24 dev eth0", "link set eth0 up", route])
        if up is not None:
            self._shape(role, "eth0", up)
        if down is not None:
            self._shape(_FABRIC, outer, down)

    def _shape(self, role: str, interface: str, mbit: float) -> None:
        if mbit == inf:
            return
        run("tc", "-n", own(role), "qdisc", "replace", "dev", interface, "root", *shape(mbit))
