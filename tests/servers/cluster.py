"""One control plane and some agents on loopback, each agent with a store of its own, as `modeldist` processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

MODELDIST = [sys.executable, "-m", "modeldist"]
PATIENCE = 30.0  # seconds for a process to come up


class Cluster:
    """Context manager; everything it started is gone when it ends."""

    def __init__(self, home: Path, agents: int, *, file_roots: tuple[Path, ...] = ()) -> None:
        self.home = home
        self.count = agents
        self._file_roots = file_roots
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs: list[IO[bytes]] = []
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self._start_server()
            for index in range(self.count):
                self._start_agent(index)
            for index in range(self.count):
                self._until(f"agent {index} to join", lambda index=index: self._joined(index), f"agent-{index}")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()

    def environment(self, index: int) -> dict[str, str]:
        """What a program on node `index` has in its environment."""
        node = self.home / f"node-{index}"
        return {**os.environ, "MODELDIST_STORE": str(node / "store"), "MODELDIST_SOCKET": str(node / "agent.sock")}

    def pull(self, index: int, reference: str) -> subprocess.Popen[bytes]:
        """Start `modeldist pull --json` on a node."""
        return subprocess.Popen(
            [*MODELDIST, "pull", "--json", reference],
            env=self.environment(index),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(errors="replace")

    def _start_server(self) -> None:
        state = self.home / "control"
        roots = {"MODELDIST_SERVER_FILE_ROOTS": json.dumps([str(root) for root in self._file_roots])}
        self._start("server", ["server", "--port", "0", "--state-dir", str(state)], {**os.environ, **roots})
        self._until("the control plane to listen", self._listening, "server")
        self._token = state / "agent.token"

    def _start_agent(self, index: int) -> None:
        roots = {"MODELDIST_AGENT_FILE_ROOTS": json.dumps([str(root) for root in self._file_roots])}
        flags = ["--control", self.url, "--token-file", str(self._token), "--name", f"node-{index}"]
        self._start(f"agent-{index}", ["agent", *flags], {**self.environment(index), **roots})

    def _start(self, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        log = (self.home / f"{name}.log").open("wb")
        self._logs.append(log)
        self._processes.append(
            subprocess.Popen(
                [*MODELDIST, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        )

    def _listening(self) -> bool:
        if found := re.search(r"http://127\.0\.0\.1:\d+", self.log("server")):
            self.url = found[0]
        return bool(self.url)

    def _joined(self, index: int) -> bool:
        asked = subprocess.run(
            [*MODELDIST, "status", "--json"], env=self.environment(index), capture_output=True, check=False
        )
        return asked.returncode == 0 and bool(_agent(json.loads(asked.stdout)).get("connected"))

    def _until(self, what: str, done: Any, log: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise SystemExit(f"demo: waited in vain for {what}:\n{self.log(log)[-3000:]}")
            time.sleep(0.05)


def _agent(status: dict[str, Any]) -> dict[str, Any]:
    inner = status.get("agent", status)
    return inner if isinstance(inner, dict) else {}
