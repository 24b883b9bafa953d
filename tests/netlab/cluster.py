"""One control plane and one agent per node, as `modeldist` processes in the lab's namespaces."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from modeldist.agent.local_client import LocalAgent
from modeldist.errors import AgentError
from tests.netlab.scenario import LabNode, LabScenario
from tests.netlab.topology import CONTROL, ORIGIN, Topology
from tests.servers.cluster import Process

_CONTROL_PORT = 7420
_PIECES_PORT = 7421
_SETTLED = 5.0  # seconds: agents run for days, and have imported what they need and measured their links by then


class LabCluster:
    """Context manager: warm agents that have joined, with empty stores."""

    def __init__(self, lab: Topology, scenario: LabScenario, home: Path, environment: dict[str, str]) -> None:
        self._lab = lab
        self._scenario = scenario
        self._home = home
        self._environment = {**os.environ, **environment}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)  # sixteen processes that compile all they import
        self._registry = f"{lab.address(ORIGIN)}:5000"
        self.server = self._process(CONTROL, self._server_arguments())
        self.agents = {node.name: self._process(node.name, self._agent_arguments(node)) for node in scenario.nodes}
        self.clients = {name: LocalAgent(home / f"{name}.sock") for name in self.agents}

    def __enter__(self) -> Self:
        self._home.mkdir(parents=True)
        try:
            self.server.start()
            self.server.wait_for("listening", lambda: "listening" in self.server.log or "http://" in self.server.log)
            self.start(list(self.agents))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pids(self) -> list[int]:
        return [agent.pid for agent in self.agents.values() if agent.running]

    def start(self, names: list[str]) -> None:
        """Start these agents and wait until they have joined and settled."""
        for name in names:
            self.agents[name].start()
        for name in names:
            self.agents[name].wait_for(f"{name} joined", lambda n=name: self._joined(n))  # type: ignore[misc]
        if names:
            time.sleep(_SETTLED)

    def empty(self, reference: str) -> None:
        """Forget a model on all nodes; start again those that were killed."""
        self.start([name for name, agent in self.agents.items() if not agent.running])
        for client in self.clients.values():
            if any(reference in row["references"] or row["path"] for row in client.artifacts()):
                client.remove(reference)
            client.gc()

    def _joined(self, name: str) -> bool:
        try:
            return bool(self.clients[name].status()["connected"])
        except AgentError:
            return False

    def _stop(self) -> None:
        for process in (*self.agents.values(), self.server):
            process.kill()

    def _process(self, role: str, arguments: list[str]) -> Process:
        inside = [*self._lab.inside(role), sys.executable, "-m", "modeldist"]
        return Process(role, arguments, self._environment, self._home, command=inside)

    def _server_arguments(self) -> list[str]:
        return [
            *("server", "--host", self._lab.address(CONTROL), "--port", str(_CONTROL_PORT), "--allow-plain-http"),
            *("--state-dir", str(self._home / CONTROL), "--plain-http", self._registry),
        ]

    def _agent_arguments(self, node: LabNode) -> list[str]:
        rack = ["--rack", node.rack] if node.rack else []
        return [
            *("agent", "--control", f"http://{self._lab.address(CONTROL)}:{_CONTROL_PORT}"),
            *("--token-file", str(self._home / CONTROL / "agent.token"), "--name", node.name, *rack),
            *("--store", str(self._home / f"{node.name}-store"), "--socket", str(self._home / f"{node.name}.sock")),
            *("--listen", f"{self._lab.address(node.name)}:{_PIECES_PORT}", "--plain-http", self._registry),
        ]
