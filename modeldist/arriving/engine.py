"""The engine and its control plane inside this process. No daemon, no database, no listener."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from modeldist.agent.config import EngineConfig, few_cores
from modeldist.agent.engine import Engine
from modeldist.agent.pulls import Pulls
from modeldist.agent.this_node import Node
from modeldist.control.inprocess import InProcessControl
from modeldist.origins.router import Origins
from modeldist.scheduler.alone import Alone
from modeldist.transfer.base import OnClosed, OnHave, PeerConnection

_ONE_STREAM = 0.4e9  # bytes/s


@asynccontextmanager
async def engine_in_process(node: Node) -> AsyncIterator[tuple[Engine, Pulls]]:
    """Started. Raises StorageError."""
    async with AsyncExitStack() as stack:
        store = await asyncio.to_thread(node.open_store)
        stack.callback(store.close)
        origins = Origins(node.origin_settings())
        stack.push_async_callback(origins.close)
        control = InProcessControl(
            origins, time.monotonic, held=store.artifact, scheduler=Alone(), accepts=origins.accepts
        )
        engine = Engine(store, control, origins, _NoPeers(), config=_config())
        stack.push_async_callback(engine.close)
        pulls = Pulls(engine, origins.canonical, approving=origins if node.policy else None)
        stack.push_async_callback(pulls.close)
        await engine.start()
        yield engine, pulls


def _config() -> EngineConfig:
    """No other node could take over a failed lease, so one failure (after the reader's own retries) is the end."""
    enough = _ONE_STREAM if few_cores() else None
    return EngineConfig(origin_failures=1, one_stream_enough=enough, measure_load=False, alone=True)


class _NoPeers:
    """The transport of a node that nobody names a parent to."""

    async def connect(
        self, address: str, *, child: str, on_have: OnHave, on_closed: OnClosed, parent: str = ""
    ) -> PeerConnection:
        raise OSError(f"{address} is no peer of this process")
