"""Phase 1 with nodes whose links can be measured, each as fast as a test says."""

from __future__ import annotations

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import Phase1Config
from modeldist.scheduler.phase1.views import NodeView
from tests.unit.scheduler.test_phase1_line import NODES, Lined

MB = 1e6


class Measured(Lined):
    """Nodes that can measure links; each sends and receives at a rate of its own, in MB/s, or 100. `asked`: parent and
    child of each question, in order. `silent`: they answer nothing."""

    def __init__(
        self,
        *nodes: str,
        sends: dict[str, float] | None = None,
        receives: dict[str, float] | None = None,
        config: Phase1Config | None = None,
        racks: dict[str, str] | None = None,
    ) -> None:
        self.sends, self.receives = sends or {}, receives or {}
        self.racks = racks or {}
        self.silent: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.numbers: list[int] = []
        super().__init__(config=config)
        for node in nodes or NODES:
            self.open(node)

    def open(self, node: str, *, serves: bool = True, measures: bool = True) -> None:
        place, address = m.Location(self.racks.get(node, "")), f"{node}:1" if serves else ""
        self.take(self.phase1.node_joined(node, address, place, self.now, measures=measures))

    def take(self, told: list[tuple[str, m.Instruction]]) -> None:
        super().take(told)
        for node, instruction in told:
            if isinstance(instruction, m.Measure):
                assert instruction.address == f"{instruction.node}:1"
                self.asked.append((instruction.node, node))
                self.numbers.append(instruction.number)
                if node not in self.silent:
                    self.say(node, m.Measured(instruction.number, self.rate(instruction.node, node)))

    def rate(self, parent: str, child: str) -> float | None:
        return min(self.sends.get(parent, 100.0), self.receives.get(child, 100.0)) * MB

    def settle(self, seconds: float = 3.0) -> Measured:
        """Time passes, as it does between ticks."""
        for _ in range(round(seconds / 0.1)):
            self.wait(0.1)
        return self

    def view(self, node: str) -> NodeView:
        found = self.phase1.node(node, self.now)
        assert found is not None
        return found

    def pull(self) -> None:
        """All want the same, from nothing."""
        self.enter(*NODES)
        self.wait(0.3)
