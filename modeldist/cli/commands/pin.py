"""`modeldist pin`, `modeldist unpin`"""

from __future__ import annotations

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@options.node_options("registry", "store", "socket", "agent")
def pin(reference: str, here: Node) -> None:
    """Keep a model: the garbage collector leaves it alone.

    \b
    Example:
      modeldist pin org/model:tag
    """
    from modeldist.cli.catalogue import set_pin

    set_pin(here, reference, pinned=True)


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@options.node_options("registry", "store", "socket", "agent")
def unpin(reference: str, here: Node) -> None:
    """Let the garbage collector have it again.

    \b
    Example:
      modeldist unpin org/model:tag
    """
    from modeldist.cli.catalogue import set_pin

    set_pin(here, reference, pinned=False)
