"""Embedded mode: a pull by an engine in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from modeldist.agent.past_pulls import PastPulls
from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.agent.pull import Pull
from modeldist.agent.pulls import Pulls
from modeldist.agent.this_node import Node
from modeldist.arriving.engine import engine_in_process
from modeldist.cli.boundary import debugging
from modeldist.cli.stopping import Stopping
from modeldist.cli.views import View
from modeldist.logger import silence

QUIET_INTERVAL = 3600.0  # seconds; nobody watches


def pull_embedded(node: Node, reference: str, *, offline: bool, view: View, stopping: Stopping) -> PullSnapshot:
    """Pull in this process; the final snapshot says how it ended. Raises InvalidReference, StorageError."""
    keep_logs_from_the_terminal()
    ended = asyncio.run(_pull(node, reference, offline, view, stopping))
    PastPulls(node.store).keep(ended)
    return ended


async def _pull(node: Node, reference: str, offline: bool, view: View, stopping: Stopping) -> PullSnapshot:
    async with engine_in_process(node) as (_, pulls):
        pull = pulls.start(reference, offline=offline)
        with stopping.by(stopper(pulls, pull)):
            return await follow(pulls, pull, view)


def keep_logs_from_the_terminal() -> None:
    """What a user must know is in the snapshot, whose notes and errors speak to a person; stdout is for the path alone.
    The log is for bugs."""
    if debugging():
        from modeldist.control.logs import configure_logging

        configure_logging("console", "debug")
    else:
        silence()
        logging.getLogger().setLevel(logging.ERROR)


def stopper(pulls: Pulls, pull: Pull) -> Callable[[], None]:
    """Cancels the pull from a signal handler: the loop may be asleep, so it is woken."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.call_soon_threadsafe(pulls.cancel, pull.id)

    return stop


async def follow(pulls: Pulls, pull: Pull, view: View) -> PullSnapshot:
    """Its last word."""
    while True:
        now = pull.snapshot()
        view.update(now)
        if now.state in FINAL:
            return now
        await pulls.settled(pull, view.interval or QUIET_INTERVAL)
