"""One control plane and some agents on loopback, each agent with a store of its own, as `modeldist` processes.

with Cluster(tmp_path, agents=4) as cluster:
    pull = cluster.pull(0, "127.0.0.1:41234/org/model:v1")     # a running `modeldist pull --json` on node 0
    cluster.agents[1].kill()                                   # SIGKILL; start() brings it back
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MODELDIST = [sys.executable, "-m", "modeldist"]
PATIENCE = 30.0  # seconds for a process to come up


def wait_until(what: str, condition: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    """Poll a condition; RuntimeError names `what` when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.02)


class Process:
    """A `modeldist` command that can be killed and started again. Its output is appended to `<home>/<name>.log`.

    `command` is how modeldist is called, `patience` the seconds that `wait_for` gives it."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str],
        home: Path,
        *,
        command: Sequence[str] = MODELDIST,
        patience: float = PATIENCE,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.arguments = arguments
        self.environment = environment
        self.patience = patience
        self.log_path = home / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, *self.arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def send(self, signum: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, closed or said."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, signum: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signum)
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"{self.name} did not stop:\n{self.log[-3000:]}") from None

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        try:
            wait_until(what, lambda: condition() or not self.running, seconds=self.patience)
        except RuntimeError as error:
            raise RuntimeError(f"{error}:\n{self.log[-3000:]}") from None
        if not condition():
            raise RuntimeError(f"{self.name} ended instead of {what}:\n{self.log[-3000:]}")


class Cluster:
    """Context manager; everything it started is gone when it ends. `environment` is added to every process, that of
    `nodes` to agents, by their index; `patience` in seconds for each to come up. With `piece_tls`, as the server has
    it, agents are enrolled by join tokens."""

    def __init__(
        self,
        home: Path,
        agents: int,
        *,
        file_roots: tuple[Path, ...] = (),
        environment: dict[str, str] | None = None,
        nodes: dict[int, dict[str, str]] | None = None,
        piece_tls: str = "",
        patience: float = PATIENCE,
    ) -> None:
        self.home = home
        self._patience = patience
        self.url = ""
        self._roots = ",".join(map(str, file_roots))
        self._common = {**os.environ, **(environment or {})}
        self._nodes = nodes or {}
        self._piece_tls = piece_tls
        self.server = self._server_process()
        self._count = agents
        self.agents: list[Process] = []

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            self.start_server()
            self.agents = [self._agent_process(index) for index in range(self._count)]
            for agent in self.agents:
                agent.start()
            for index in range(self._count):
                self.wait_joined(index)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (*self.agents, self.server):
            if process.running:
                process.stop() if error is None else process.kill()

    def start_server(self) -> None:
        """Start the control plane; after a kill on the same port, so that agents find it again."""
        seen = len(self.server.log)
        self.server.start()
        self.server.wait_for("the control plane to listen", lambda: self._listening(seen))
        self.server.arguments[self.server.arguments.index("--port") + 1] = self.url.rpartition(":")[2]

    def wait_joined(self, index: int) -> None:
        """Return when the agent has a session."""
        self.agents[index].wait_for("the agent to join", lambda: bool(self.status(index).get("connected")))

    def environment(self, index: int) -> dict[str, str]:
        """What a program on node `index` has in its environment."""
        node = self.home / f"node-{index}"
        return {
            **self._common,
            "MODELDIST_STORE": str(node / "store"),
            "MODELDIST_SOCKET": str(node / "agent.sock"),
            "MODELDIST_SERVER": self.url,
            "MODELDIST_TOKEN": self.token("admin"),
        }

    def store(self, index: int) -> Path:
        return self.home / f"node-{index}" / "store"

    def token(self, kind: str) -> str:
        return (self.home / "control" / f"{kind}.token").read_text().strip()

    def run(self, index: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on a node to its end."""
        return subprocess.run(
            [*MODELDIST, *arguments],
            env=self.environment(index),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def pull(self, index: int, reference: str, *flags: str) -> subprocess.Popen[str]:
        """Start `modeldist pull --json` on a node."""
        return subprocess.Popen(
            [*MODELDIST, "pull", "--json", *flags, reference],
            env=self.environment(index),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def status(self, index: int) -> dict[str, Any]:
        """The agent's own status; empty when it does not answer."""
        asked = self.run(index, "status", "--json")
        if asked.returncode:
            return {}
        status = json.loads(asked.stdout)
        inner = status.get("agent", status)
        return inner if isinstance(inner, dict) else {}

    def _listening(self, seen: int) -> bool:
        found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", self.server.log[seen:])
        if found:
            self.url = found[0]
        return bool(found)

    def _server_process(self) -> Process:
        arguments = ["server", "--port", "0", "--state-dir", str(self.home / "control")]
        if self._piece_tls:
            arguments += ["--piece-tls", self._piece_tls]
        return Process(
            "server",
            arguments,
            {**self._common, "MODELDIST_SERVER_FILE_ROOTS": self._roots},
            self.home,
            patience=self._patience,
        )

    def join_token(self, index: int, *flags: str) -> Path:
        """A file with a fresh one."""
        made = self.run(index, "token", "join", "--state-dir", str(self.home / "control"), *flags)
        assert made.returncode == 0, made.stderr
        path = self.home / f"node-{index}.join"
        path.write_text(made.stdout)
        return path

    def _agent_process(self, index: int) -> Process:
        if self._piece_tls:
            credentials = ["--join-token-file", str(self.join_token(index))]
        else:
            credentials = ["--token-file", str(self.home / "control" / "agent.token")]
        arguments = ["agent", "--control", self.url, *credentials, "--name", f"node-{index}"]
        environment = {**self.environment(index), "MODELDIST_AGENT_FILE_ROOTS": self._roots}
        environment |= self._nodes.get(index, {})
        return Process(f"agent-{index}", arguments, environment, self.home, patience=self._patience)


def finish(pull: subprocess.Popen[str], *, seconds: float = 120) -> dict[str, Any]:
    """The result of a running `pull --json`. AssertionError with its words when it failed."""
    out, err = pull.communicate(timeout=seconds)
    assert pull.returncode == 0, f"the pull failed with exit code {pull.returncode}:\n{err}\n{out}"
    result: dict[str, Any] = json.loads(out)
    return result
