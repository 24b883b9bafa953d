"""`modeldist why`"""

from __future__ import annotations

import time

import click

from modeldist.agent.progress import FINAL
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.explanation import bottleneck, explain
from modeldist.cli.node import Node
from modeldist.cli.terminal import clean, put, put_json
from modeldist.errors import AgentError

MEASURE = 1.0  # seconds over which the present rate is taken


@click.command(cls=Command)
@click.argument("pull", metavar="PULL|REF")
@options.as_json
@options.node_options("socket")
def why(pull: str, as_json: bool, here: Node) -> None:
    """Explain a pull: where its bytes come from, what holds it up.

    PULL is its id as `modeldist status` shows it, REF the reference as it was pulled.
    Only pulls of this machine's agent are remembered.

    \b
    Example:
      modeldist why org/model:tag
    """
    agent = here.running_agent()
    if agent is None:
        raise AgentError(
            "No agent runs on this machine, and pulls without one leave no record.",
            remedy="`modeldist pull --verbose` tells as it goes; `modeldist agent` keeps a record.",
        )
    now, per_second = agent.find_pull(pull), None
    if now.state not in FINAL:
        before = now
        time.sleep(MEASURE)
        now = agent.find_pull(before.pull)
        elapsed = now.seconds - before.seconds
        per_second = (now.origin + now.peers - before.origin - before.peers) / elapsed if elapsed > 0 else None
    if as_json:
        put_json({"pull": now, "bytes_per_second": per_second, "bottleneck": bottleneck(now, per_second)})
        return
    for line in explain(now, per_second):
        put(clean(line))
