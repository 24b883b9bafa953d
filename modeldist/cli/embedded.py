"""Embedded mode: the engine and its control plane inside this process. No daemon, no database, no listener."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from modeldist.agent.config import EngineConfig, few_cores
from modeldist.agent.engine import Engine
from modeldist.agent.past_pulls import PastPulls
from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.agent.pull import Pull, Pulls
from modeldist.agent.this_node import Node
from modeldist.cli.boundary import debugging
from modeldist.cli.stopping import Stopping
from modeldist.cli.views import View
from modeldist.control.inprocess import InProcessControl
from modeldist.logger import silence
from modeldist.origins.router import Origins
from modeldist.scheduler.alone import Alone
from modeldist.transfer.base import OnClosed, OnHave, PeerConnection

_ONE_STREAM = 0.4e9  # bytes/s
QUIET_INTERVAL = 3600.0  # seconds; nobody watches


def pull_embedded(node: Node, reference: str, *, offline: bool, view: View, stopping: Stopping) -> PullSnapshot:
    """Pull in this process; the final snapshot says how it ended. Raises InvalidReference, StorageError."""
    _keep_logs_from_the_terminal()
    ended = asyncio.run(_pull(node, reference, offline, view, stopping))
    PastPulls(node.store).keep(ended)
    return ended


async def _pull(node: Node, reference: str, offline: bool, view: View, stopping: Stopping) -> PullSnapshot:
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
        pull = pulls.start(reference, offline=offline)
        with stopping.by(_stopper(pulls, pull)):
            return await _follow(pulls, pull, view)


def _config() -> EngineConfig:
    """No other node could take over a failed lease, so one failure (after the reader's own retries) is the end."""
    enough = _ONE_STREAM if few_cores() else None
    return EngineConfig(origin_failures=1, one_stream_enough=enough, measure_load=False, alone=True)


def _keep_logs_from_the_terminal() -> None:
    """What a user must know is in the snapshot, whose notes and errors speak to a person; stdout is for the path alone.
    The log is for bugs."""
    if debugging():
        from modeldist.control.logs import configure_logging

        configure_logging("console", "debug")
    else:
        silence()
        logging.getLogger().setLevel(logging.ERROR)


class _NoPeers:
    """The transport of a node that nobody names a parent to."""

    async def connect(self, address: str, *, child: str, on_have: OnHave, on_closed: OnClosed) -> PeerConnection:
        raise OSError(f"{address} is no peer of this process")


def _stopper(pulls: Pulls, pull: Pull) -> Callable[[], None]:
    """Cancels the pull from a signal handler: the loop may be asleep, so it is woken."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.call_soon_threadsafe(pulls.cancel, pull.id)

    return stop


async def _follow(pulls: Pulls, pull: Pull, view: View) -> PullSnapshot:
    while True:
        now = pull.snapshot()
        view.update(now)
        if now.state in FINAL:
            return now
        await pulls.settled(pull, view.interval or QUIET_INTERVAL)
