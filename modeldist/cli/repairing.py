"""Models from which something damaged was removed, brought again: by the agent, or by an engine in this process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.agent.progress import PullSnapshot
from modeldist.agent.this_node import Node
from modeldist.cli.catalogue import existing_store
from modeldist.cli.stopping import Stopping, stopping
from modeldist.cli.views import View, view

if TYPE_CHECKING:
    from modeldist.agent.local_client import LocalAgent
    from modeldist.agent.store import Audit
    from modeldist.artifact import Digest


def repaired(here: Node, found: Audit, *, quiet: bool) -> list[PullSnapshot]:
    """How each ended. ^C keeps what has arrived. Raises AgentError, StorageError."""
    agent = here.running_agent()
    with existing_store(here if agent is None else replace(here, store=Path(agent.status()["store"]))) as store:
        wanting = tuple(store.damaged(found)) if store is not None else ()
    with stopping() as stop, view(quiet=quiet) as watching:
        stop.before_leaving = watching.close
        if agent is not None:
            return _by_agent(agent, wanting, watching)
        return _by_itself(here, wanting, watching, stop) if wanting else []


def tell_agent(here: Node) -> None:
    """What was removed is offered to nobody any more."""
    if agent := here.running_agent():
        agent.repair(())


def _by_agent(agent: LocalAgent, wanting: tuple[Digest, ...], watching: View) -> list[PullSnapshot]:
    ended = []
    for now in agent.repair(wanting):
        last = now
        for last in agent.events(now.pull):
            watching.update(last)
        ended.append(last)
    return ended


def _by_itself(here: Node, wanting: tuple[Digest, ...], watching: View, stop: Stopping) -> list[PullSnapshot]:
    from modeldist.cli.embedded import keep_logs_from_the_terminal

    keep_logs_from_the_terminal()
    return asyncio.run(_embedded(here, wanting, watching, stop))


async def _embedded(here: Node, wanting: tuple[Digest, ...], watching: View, stop: Stopping) -> list[PullSnapshot]:
    from modeldist.agent.repairing import begin_repair
    from modeldist.arriving.engine import engine_in_process
    from modeldist.cli.embedded import follow, stopper

    ended = []
    async with engine_in_process(here) as (engine, pulls):
        for digest in wanting:
            artifact = await asyncio.to_thread(engine.store.artifact, digest)
            if artifact is not None:
                pull = begin_repair(engine, pulls, artifact)
                with stop.by(stopper(pulls, pull)):
                    ended.append(await follow(pulls, pull, watching))
    return ended
