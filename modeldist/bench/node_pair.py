"""A control plane and two agents as processes on loopback, for what one node gets from another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

from modeldist.agent.local_client import LocalAgent
from modeldist.agent.progress import PullSnapshot
from modeldist.bench.programs import ProgramFailed

MODELDIST = [sys.executable, "-m", "modeldist"]
T = TypeVar("T")
_PATIENCE = 30.0  # seconds for a process to come up


class NodePair:
    """`agents` are the parent's and the child's process. `tls`: enrolled, in a cluster that requires TLS."""

    def __init__(self, home: Path, *, tls: bool = False) -> None:
        self._home = home
        self._tls = tls
        self._processes: list[subprocess.Popen[bytes]] = []
        self.agents: list[psutil.Process] = []

    def __enter__(self) -> Self:
        self._home.mkdir()
        try:
            control = self._home / "control"
            required = ("--piece-tls", "require") if self._tls else ()
            self._start("server", "--port", "0", "--state-dir", str(control), *required)
            found = self._wait(
                "the control plane", lambda: re.search(r"http://127\.0\.0\.1:[1-9]\d*", self._log("server"))
            )
            assert found is not None
            for name in ("parent", "child"):
                process = self._start(
                    "agent",
                    name=name,
                    MODELDIST_AGENT_CONTROL=found[0],
                    **self._node(name),
                    **self._token(control),
                )
                self.agents.append(psutil.Process(process.pid))
                self._wait(f"the {name}", lambda name=name: self._connected(name))  # type: ignore[misc]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait()

    def pull(self, name: str, reference: str) -> PullSnapshot:
        """Pull at the parent or the child; how it ended. Raises ProgramFailed."""
        agent = self._agent(name)
        *_, last = agent.events(agent.start_pull(reference).pull)
        if last.state != "done":
            raise ProgramFailed(f"the pull at the {name} ended as {last.state}: {last.error}")
        return last

    def forget(self, name: str, reference: str) -> None:
        """Take it out of a node's store."""
        self._agent(name).remove(reference)

    def cpu(self) -> float:
        """CPU seconds that both agents have used so far."""
        return sum(times.user + times.system for times in (agent.cpu_times() for agent in self.agents))

    def peak(self) -> int:
        """Resident bytes of the larger agent now."""
        return max(int(agent.memory_info().rss) for agent in self.agents)

    def _agent(self, name: str) -> LocalAgent:
        return LocalAgent(self._home / name / "agent.sock")

    def _node(self, name: str) -> dict[str, str]:
        node = self._home / name
        return {
            "MODELDIST_AGENT_STORE": str(node / "store"),
            "MODELDIST_AGENT_SOCKET": str(node / "agent.sock"),
            "MODELDIST_AGENT_NAME": name,
        }

    def _token(self, control: Path) -> dict[str, str]:
        if not self._tls:
            return {"MODELDIST_AGENT_TOKEN": (control / "agent.token").read_text().strip()}
        joining = [*MODELDIST, "token", "join", "--state-dir", str(control)]
        made = subprocess.run(joining, capture_output=True, text=True, check=True)
        return {"MODELDIST_AGENT_JOIN_TOKEN": made.stdout.strip()}

    def _connected(self, name: str) -> bool:
        agent = self._agent(name)
        return agent.running() and bool(agent.status().get("connected"))

    def _start(self, *arguments: str, name: str = "", **environment: str) -> subprocess.Popen[bytes]:
        with (self._home / f"{name or arguments[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [*MODELDIST, *arguments],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def _log(self, name: str) -> str:
        return (self._home / f"{name}.log").read_text(errors="replace")

    def _wait(self, what: str, condition: Callable[[], T]) -> T:
        deadline = time.monotonic() + _PATIENCE
        while not (found := condition()):
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                logs = "\n".join(path.read_text(errors="replace")[-1000:] for path in self._home.glob("*.log"))
                raise ProgramFailed(f"waited in vain for {what}:\n{logs}")
            time.sleep(0.05)
        return found
