"""`modeldist why`"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.control_plane import server_url
from modeldist.cli.explanation import bottleneck, explain, explain_everywhere
from modeldist.cli.terminal import clean, put, put_json
from modeldist.errors import NotFound

if TYPE_CHECKING:
    from modeldist.agent.local_client import LocalAgent
    from modeldist.control.views import PullView

MEASURE = 1.0  # seconds over which the present rate is taken


@click.command(cls=Command)
@click.argument("pull", metavar="PULL|REF")
@options.as_json
@options.server
@options.token
@options.node_options("store", "socket")
def why(pull: str, as_json: bool, server: str | None, token: Path | None, here: Node) -> None:
    """Explain a pull: where its bytes come from, what holds it up.

    PULL is its id as `modeldist status` shows it, REF the reference as it was pulled, or the name of a model that
    programs read through the gateway. With --server, a pull that the
    control plane started (`modeldist preheat`); else the agent's, running or ended, or one of those that ended here
    without an agent. MODELDIST_SERVER is asked for what nobody here knows.

    \b
    Example:
      modeldist why org/model:tag
    """
    if server is not None:
        _everywhere(pull, server, token, as_json=as_json)
        return
    try:
        now, per_second = _here(pull, here)
    except NotFound:
        if (server := server_url(None)) is None:
            raise
        _everywhere(pull, server, token, as_json=as_json)
        return
    if as_json:
        put_json({"pull": now, "bytes_per_second": per_second, "bottleneck": bottleneck(now, per_second)})
    else:
        _print(explain(now, per_second))


def _everywhere(pull: str, server: str, token: Path | None, *, as_json: bool) -> None:
    found = _of_control_plane(pull, server, token)
    if as_json:
        put_json({"pull": found})
    else:
        _print(explain_everywhere(found))


def _here(pull: str, here: Node) -> tuple[PullSnapshot, float | None]:
    """The pull, and its present rate in bytes/s while it runs."""
    agent = here.running_agent()
    if agent is not None:
        try:
            return _measured(agent, pull)
        except NotFound:
            if (past := _past(pull, here)) is None:
                raise
            return past, None
    if (past := _past(pull, here)) is None:
        raise NotFound(
            f"No pull {pull!r} has ended in {here.store}, and no agent runs here that could know of one.",
            remedy="Name it as it was pulled; `modeldist pull --verbose` tells of a pull as it goes.",
        )
    return past, None


def _past(pull: str, here: Node) -> PullSnapshot | None:
    from modeldist.agent.past_pulls import PastPulls

    return PastPulls(here.store).find(pull)


def _measured(agent: LocalAgent, pull: str) -> tuple[PullSnapshot, float | None]:
    now = agent.find_pull(pull)
    if now.state in FINAL:
        return now, None
    before = now
    time.sleep(MEASURE)
    now = agent.find_pull(before.pull)
    elapsed = now.seconds - before.seconds
    return now, (now.origin + now.peers - before.origin - before.peers) / elapsed if elapsed > 0 else None


def _of_control_plane(pull: str, server: str, token: Path | None) -> PullView:
    import asyncio

    from modeldist.cli.control_plane import client

    async def ask() -> PullView:
        async with client(server, token) as control:
            async for each in control.pulls():  # newest first
                if each.id.startswith(pull) or each.reference == pull:
                    return await control.get_pull(each.id)
            raise NotFound(
                f"The control plane knows no pull {pull!r}.",
                remedy="`modeldist status --server URL` lists those that run.",
            )

    return asyncio.run(ask())


def _print(lines: list[str]) -> None:
    for line in lines:
        put(clean(line))
