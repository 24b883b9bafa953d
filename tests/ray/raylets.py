"""A real Ray cluster on loopback: one raylet per address, each with an environment of its own.

Raylets are started by `ray start` and stopped with their process trees, so that other clusters of the machine, which
`ray stop` would end too, live on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import ray

from tests.documentation import page
from tests.documentation.reading import commands
from tests.servers.cluster import wait_until

RAY = str(Path(sys.executable).parent / "ray")
PATIENCE = 120.0  # seconds for a raylet to come up
PAGE = Path(__file__).parents[2] / "docs" / "ray.md"
MEMORY = 80_000_000  # bytes of its object store, the least that Ray takes


def plugins() -> str:
    """RAY_RUNTIME_ENV_PLUGINS of a `ray start --head`, as the page has a reader start one."""
    (block,) = (
        each for each in page.blocks(PAGE.read_text()) if each.language == "console" and "ray start" in each.text
    )
    stand_in = 'ray() { [ "$*" = "start --head" ] && printf %s "$RAY_RUNTIME_ENV_PLUGINS"; }'
    script = "\n".join((stand_in, *commands(block.text)))
    return subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True).stdout


def free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


class Raylets:
    """Context manager. The first raylet is the head, on 127.0.0.2; the others are on 127.0.0.3 and so on."""

    def __init__(self) -> None:
        self._port = free_port("127.0.0.2")
        self._plugins = plugins()
        self._home = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets below it have short names
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray.shutdown()
        for number in reversed(range(len(self._running))):
            self.kill(number)
        shutil.rmtree(self._home, ignore_errors=True)

    def __len__(self) -> int:
        """How many were started, those that left among them."""
        return len(self._running)

    def join(self, environment: Mapping[str, str], command: Sequence[str] = ()) -> str:
        """One more raylet, started by `command`; Ray's id of the node, once this program sees it alive."""
        number = len(self._running)
        address = f"127.0.0.{2 + number}"
        path = self._home / f"start-{number}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*command, *self._start(number, address)],
                env={**os.environ, "RAY_RUNTIME_ENV_PLUGINS": self._plugins, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append(process)
        # One after the other: raylets that start at once on few cores exceed the time that Ray gives them.
        wait_until(
            "a raylet",
            lambda: b"Ray runtime started" in path.read_bytes() or process.poll() is not None,
            seconds=PATIENCE,
        )
        if process.poll() is not None:
            raise RuntimeError(f"A raylet ended:\n{path.read_text(errors='replace')[-3000:]}")
        if number == 0:
            self.connect()
        wait_until("the cluster to see the raylet", lambda: bool(_node_at(address)), seconds=PATIENCE)
        return _node_at(address)

    def connect(self, **options: Any) -> None:
        """This program to the head."""
        ray.init(
            f"127.0.0.2:{self._port}",
            log_to_driver=False,
            logging_level="error",
            _node_ip_address="127.0.0.2",
            **options,
        )

    def leave(self, number: int) -> None:
        """The raylet says good-bye, so the cluster misses it at once, and ends with all that it started."""
        if self._running[number].poll() is not None:
            return
        tree = psutil.Process(self._running[number].pid).children()
        raylets = [child for child in tree if child.name() == "raylet"]  # a direct child, which ends with its parent
        for raylet in raylets:
            raylet.terminate()
        psutil.wait_procs(raylets, timeout=30)
        self.kill(number)

    def kill(self, number: int) -> None:
        """The raylet and all that it started, at once."""
        process = self._running[number]
        if process.poll() is not None:
            return
        root = psutil.Process(process.pid)
        root.suspend()  # it starts nothing more
        tree = [*root.children(recursive=True), root]
        for each in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
        psutil.wait_procs(tree, timeout=30)

    def _start(self, number: int, address: str) -> list[str]:
        head = ["--head", f"--port={self._port}", "--include-dashboard=false", f"--temp-dir={self._home}"]
        return [
            *(RAY, "start", "--block", f"--node-ip-address={address}", "--num-cpus=1", "--disable-usage-stats"),
            "--num-gpus=1",  # a number, which Ray counts down
            f"--object-store-memory={MEMORY}",
            *(head if number == 0 else [f"--address=127.0.0.2:{self._port}"]),
        ]


def _node_at(address: str) -> str:
    found = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeManagerAddress"] == address]
    return str(found[0]) if found else ""
