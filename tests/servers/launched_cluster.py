"""A cluster whose control plane and agents are started by `modeldist launch`, so that they can update themselves."""

from __future__ import annotations

import socket
from pathlib import Path

from modelpack.trust.keys import PublicKey
from tests.servers.cluster import Cluster, Process


class LaunchedCluster(Cluster):
    """`key`: whose releases are taken. `without`: indices of agents that nothing launches."""

    def __init__(
        self,
        home: Path,
        agents: int,
        key: PublicKey,
        *,
        without: tuple[int, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        public = home / "release.pub"
        public.write_bytes(key.pem())
        self._without = without
        keys = {"MODELDIST_AGENT_RELEASE_KEY": str(public), "MODELDIST_SERVER_RELEASE_KEY": str(public)}
        super().__init__(home, agents, environment={**keys, **(environment or {})})

    def versions(self, name: str) -> Path:
        """Of `server`, or `agent-0`."""
        return self.home / f"versions-{name}"

    def _server_process(self) -> Process:
        process = super()._server_process()
        with socket.create_server(("127.0.0.1", 0)) as free:  # the next version has to be found there, too
            process.arguments[process.arguments.index("--port") + 1] = str(free.getsockname()[1])
        return self._launched(process)

    def _agent_process(self, index: int) -> Process:
        process = super()._agent_process(index)
        return process if index in self._without else self._launched(process)

    def _launched(self, process: Process) -> Process:
        process.arguments = ["launch", "--versions", str(self.versions(process.name)), *process.arguments]
        return process
