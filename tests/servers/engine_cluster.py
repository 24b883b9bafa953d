"""Engines in one process, with a real store, real TCP piece servers and the in-process control plane.

The origin's bytes live in memory and count every read.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from modeldist.agent.config import EngineConfig
from modeldist.agent.engine import Engine
from modeldist.agent.progress import PullSnapshot
from modeldist.agent.pulls import Pulls
from modeldist.agent.store import Store
from modeldist.artifact import Artifact
from modeldist.control.inprocess import InProcessControl
from modeldist.session.link import ControlLink
from modeldist.transfer.base import CheckCapability, ServerLimits, Transport
from modeldist.transfer.link_shard import WithLinkShard
from modeldist.transfer.tcp import TcpPieceServer, TcpTransport
from tests.servers.memory_origin import MemoryOrigin

REFERENCE = "memory://org/model:v1"
MIB = 1 << 20


@dataclass
class EngineNode:
    """One node; `server` may be closed by the test to make the node vanish for its children."""

    engine: Engine
    pulls: Pulls
    store: Store
    server: TcpPieceServer

    async def pull(self, reference: str = REFERENCE) -> Path:
        return await self.pulls.wait(self.pulls.start(reference))

    async def pull_and_tell(self, reference: str = REFERENCE) -> tuple[Path, PullSnapshot]:
        pull = self.pulls.start(reference)
        return await self.pulls.wait(pull), pull.snapshot()


class EngineCluster:
    """Nodes that share one origin and one control plane."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.origin = MemoryOrigin()
        self.control: ControlLink = InProcessControl(self.origin, time.monotonic)

    @asynccontextmanager
    async def node(
        self,
        name: str,
        *,
        limits: ServerLimits | None = None,
        config: EngineConfig | None = None,
        transport: Transport | None = None,
        check: CheckCapability = lambda *_: True,
        measures: bool = False,
    ) -> AsyncIterator[EngineNode]:
        """`check`: of the capabilities that it is shown. `measures`: links, and lets others measure its own."""
        store = Store.open(self.home / name)
        server = TcpPieceServer(
            WithLinkShard(store.directory()),
            host="127.0.0.1",
            check=check,
            limits=limits or ServerLimits(),
            node=store.node_id,
        )
        engine = Engine(
            store,
            self.control,
            self.origin,
            transport or TcpTransport(),
            server=server,
            address=server.address,
            measuring=TcpTransport() if measures else None,
            config=config or EngineConfig(name=name),
            rng=random.Random(name),
        )
        pulls = Pulls(engine, lambda reference: reference)
        await engine.start()
        try:
            yield EngineNode(engine, pulls, store, server)
        finally:
            await pulls.close()
            await engine.close()
            await asyncio.to_thread(server.close)
            store.close()

    def assert_read_once(self, artifact: Artifact) -> None:
        """Every byte of every shard left the origin exactly once."""
        read = {shard.digest: self.origin.bytes_read[shard.digest] for shard in artifact.shards}
        assert read == {shard.digest: shard.size for shard in artifact.shards}


def model(*sizes: int) -> dict[str, bytes]:
    """Files of random content."""
    return {f"part-{index}.safetensors": os.urandom(size) for index, size in enumerate(sizes)}


def assert_right(snapshot: Path, files: dict[str, bytes]) -> None:
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == files


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)
