"""`modeldist pin`, `modeldist unpin`"""

from __future__ import annotations

from typing import Annotated

import typer

from modeldist.cli import options
from modeldist.cli.node import node

Reference = Annotated[str, typer.Argument(metavar="REF", help="As `modeldist ls` shows it.")]


def pin(
    reference: Reference,
    store: options.StorePath = None,
    registry: options.DefaultRegistry = None,
    socket: options.SocketPath = None,
    agent: options.UseAgent = None,
) -> None:
    """Keep a model: the garbage collector leaves it alone.

    \b
    Example:
      modeldist pin org/model:tag
    """
    from modeldist.cli.catalogue import canonical, opened_store, shared_store

    here = node(store=store, socket=socket, agent=agent, registry=registry)
    with opened_store(shared_store(here)) as opened:
        opened.pin(canonical(here, reference))


def unpin(
    reference: Reference,
    store: options.StorePath = None,
    registry: options.DefaultRegistry = None,
    socket: options.SocketPath = None,
    agent: options.UseAgent = None,
) -> None:
    """Let the garbage collector have it again.

    \b
    Example:
      modeldist unpin org/model:tag
    """
    from modeldist.cli.catalogue import canonical, opened_store, shared_store

    here = node(store=store, socket=socket, agent=agent, registry=registry)
    with opened_store(shared_store(here)) as opened:
        opened.unpin(canonical(here, reference))
