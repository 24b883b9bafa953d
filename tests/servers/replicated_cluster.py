"""A cluster whose control plane is several processes on one PostgreSQL, each on a port of its own.

with ReplicatedCluster(tmp_path, agents=4, database_url=postgres.new_database()) as cluster:
    cluster.replicas[cluster.leader()].kill()
    cluster.wait_led()                             # by another one
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

from tests.servers.cluster import MODELDIST, PATIENCE, Cluster, Process

HOST = "127.0.0.1"


class ReplicatedCluster(Cluster):
    """`commands`: how modeldist is called for each replica; `agent_command`: for the agents. All replicas share a state
    directory, so that whichever leads first writes the tokens where they are looked for."""

    def __init__(
        self,
        home: Path,
        agents: int,
        *,
        database_url: str,
        commands: Sequence[Sequence[str]] = (MODELDIST, MODELDIST),
        agent_command: Sequence[str] = MODELDIST,
        environment: dict[str, str] | None = None,
    ) -> None:
        super().__init__(home, agents, environment=environment)
        self._agent_command = agent_command
        self.database_url = database_url
        self.ports = _free_ports(len(commands))
        self.replicas = [self._replica(index, command) for index, command in enumerate(commands)]
        self.url = ",".join(f"http://{HOST}:{port}" for port in self.ports)

    def start_server(self) -> None:
        for replica in self.replicas:
            replica.start()
        for replica, port in zip(self.replicas, self.ports, strict=True):
            replica.wait_for("the replica to listen", partial(_lives, port))
        self.wait_led()

    def leader(self) -> int | None:
        """Which replica says that it is ready."""
        for index, port in enumerate(self.ports):
            if self.replicas[index].running and probe(port, "/readyz") == 200:
                return index
        return None

    def wait_led(self, *, seconds: float = PATIENCE) -> int:
        """The replica that leads, once one does."""
        deadline = time.monotonic() + seconds
        while (leader := self.leader()) is None:
            logs = "\n".join(f"{replica.name}:\n{replica.log[-2000:]}" for replica in self.replicas)
            assert time.monotonic() < deadline, f"nobody leads after {seconds} seconds\n{logs}"
            time.sleep(0.01)
        return leader

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            for replica in self.replicas:
                if replica.running:
                    replica.stop() if error is None else replica.kill()

    def _replica(self, index: int, command: Sequence[str]) -> Process:
        arguments = ["server", "--port", str(self.ports[index]), "--state-dir", str(self.home / "control")]
        environment = {**self._common, "MODELDIST_SERVER_DATABASE_URL": self.database_url}
        return Process(f"replica-{index}", arguments, environment, self.home, command=command)

    def _agent_process(self, index: int) -> Process:
        process = super()._agent_process(index)
        process.command = tuple(self._agent_command)
        return process


def _lives(port: int) -> bool:
    return probe(port, "/healthz") == 200


def probe(port: int, path: str) -> int:
    """The status that a replica answers; 0 when it does not."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]
