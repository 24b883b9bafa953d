"""The actor that runs an agent on a node of a Ray cluster which has none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modeldist.agent.config import default_socket
from modeldist.agent.local_client import LocalAgent
from modeldist.errors import AgentError, ErrorInfo, ModeldistError
from modeldist.ray.certificate import trusting_also
from modeldist.ray.control_actor import Joining
from modeldist.ray.kept_process import KeptProcess


@dataclass(frozen=True)
class NodeAgent:
    """The agent of one node, by Ray's id of it: its socket, its store, its own name for the node, and whether Ray
    started it (else it ran before, and Ray leaves it alone)."""

    node: str
    socket: Path
    store: Path
    agent: str
    started: bool


class AgentActor:
    """The actor's class. `address` is that of its node; the socket is where every program of the node looks for one."""

    def __init__(self, node: str, address: str, joining: Joining, options: Sequence[str]) -> None:
        self._node = node
        self._agent = LocalAgent(default_socket())
        folder = self._agent.path.parent
        host = f"[{address}]" if ":" in address else address
        environment = {**os.environ, "MODELDIST_AGENT_TOKEN": joining.token}
        if joining.certificate:
            environment |= trusting_also(joining.certificate, folder / "ray-authorities.pem")
        self._kept = KeptProcess(
            [
                *("agent", "--control", joining.url, "--socket", str(self._agent.path)),
                *("--listen", f"{host}:0", "--name", f"ray-{node[:12]}", "--label", f"ray-node={node}", *options),
            ],
            environment,
            folder / "ray-agent.log",
            needed=lambda: not self._agent.running(),
        )

    async def ready(self) -> NodeAgent | ErrorInfo:
        """Once it answers and has joined the control plane."""
        while True:
            status = await asyncio.to_thread(self._status)
            if status is not None:
                return status
            if self._kept.hopeless:
                return AgentError(
                    f"The agent does not start: {self._kept.last_words()}",
                    remedy="It is tried again; to give other `agent_options`, call `stop_agents()` first.",
                ).info()
            await asyncio.sleep(0.2)

    async def stop(self) -> None:
        await asyncio.to_thread(self._kept.stop)

    def _status(self) -> NodeAgent | None:
        try:
            status = self._agent.status()
        except ModeldistError:
            return None
        if not status["connected"]:
            return None
        return NodeAgent(self._node, self._agent.path, Path(status["store"]), str(status["name"]), self._kept.running)
