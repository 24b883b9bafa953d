"""`modeldist profile`"""

from __future__ import annotations

from pathlib import Path

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import put, say
from modeldist.errors import AgentError, StorageError
from modeldist.profiling import LONGEST, SECONDS


@click.command(cls=Command)
@click.option(
    "--seconds",
    type=click.FloatRange(0, LONGEST, min_open=True),
    default=SECONDS,
    show_default=True,
    help="For how long.",
)
@click.option("--output", "-o", type=options.PATH, metavar="FILE", help="Where it goes. [default: standard output]")
@options.node_options("socket")
def profile(seconds: float, output: Path | None, here: Node) -> None:
    """Show where this machine's agent spends its time.

    Stacks of all its threads and tasks, sampled a hundred times a second: a line for each that was seen, and how often.
    flamegraph.pl and speedscope read it. It costs the agent little, and only one is made at a time.

    \b
    Example:
      modeldist profile --seconds 10 --output agent.collapsed
    """
    agent = here.running_agent()
    if agent is None:
        raise AgentError("No agent runs on this machine.", remedy="Start one with `modeldist agent`.")
    found = agent.profile(seconds)
    if output is None:
        put(found.rstrip("\n"))
        return
    try:
        output.write_text(found)
    except OSError as error:
        raise StorageError(f"Cannot write {output}: {error.strerror}.", remedy="Choose another --output.") from error
    say(f"modeldist: {output} has {len(found.splitlines())} different stacks")
