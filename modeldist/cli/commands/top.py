"""`modeldist top`"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.control_plane import ITS_OWN, control_url, server_url, token_for
from modeldist.cli.terminal import put, put_json
from modeldist.errors import AgentError, Cancelled

if TYPE_CHECKING:
    from modeldist.cli.top.cluster import Cluster
    from modeldist.cli.top.local import Local

_MEASURED = 1.0  # seconds between the two looks of --once


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Show one picture and end.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2, max=3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two pictures.",
)
@options.as_json
@options.server
@options.token
@options.node_options("socket")
def top(once: bool, interval: float, as_json: bool, server: str | None, token: Path | None, here: Node) -> None:
    """Watch what moves, live.

    Pulls, their rates from origin and peers, what holds them up, who feeds whom. Of this machine's agent, or with
    --server of a cluster, with its nodes by traffic. q ends it. Where stdout is no terminal the pictures are plain
    text; --json is one picture as a document. MODELDIST_SERVER is asked where no agent runs.

    A look that fails is told in the picture, and the next one is taken; with --once it ends the command.

    \b
    Example:
      modeldist top --server https://control:7420
    """
    source = _source(server, token, here)
    if once or as_json:
        source.look()
        time.sleep(_MEASURED)
        if as_json:
            put_json(source.look())
        else:
            from modeldist.cli.top.picture import lines

            put("\n".join(lines(source.look())))
        return
    from modeldist.cli.top import screen

    if not sys.stdout.isatty():
        screen.plain(source.look, interval)
        return
    try:
        screen.live(source.look, interval)
    except KeyboardInterrupt:
        raise Cancelled("Stopped.") from None


def _source(server: str | None, token: Path | None, here: Node) -> Cluster | Local:
    agent = None if server else here.running_agent()
    if agent is not None:
        from modeldist.cli.top.local import Local

        return Local(agent)
    if server_url(server) is None:
        raise AgentError(
            "No agent runs on this machine.",
            remedy="Start one with `modeldist agent`, or watch a control plane with --server URL.",
        )
    from modeldist.cli.top.cluster import Cluster
    from modeldist.client import Client

    return Cluster(Client(control_url(server), token_for(token), timeout=2 * ITS_OWN))
