"""`modeldist rm`"""

from __future__ import annotations

from typing import Annotated

import typer

from modeldist.cli import options, units
from modeldist.cli.node import node
from modeldist.cli.terminal import put, put_json


def rm(
    references: Annotated[list[str], typer.Argument(metavar="REF…", help="As `modeldist ls` shows them.")],
    as_json: options.Json = False,
    store: options.StorePath = None,
    hub: options.HubPath = None,
    registry: options.DefaultRegistry = None,
    socket: options.SocketPath = None,
    agent: options.UseAgent = None,
) -> None:
    """Remove models from this machine. Files that other models or running pulls use stay.

    \b
    Example:
      modeldist rm org/model:old org/model:older
    """
    from modeldist.cli.catalogue import remove

    here = node(store=store, hub=hub, socket=socket, agent=agent, registry=registry)
    removed = [remove(here, reference) for reference in references]
    if as_json:
        put_json(removed)
        return
    for each in removed:
        gone = f"{units.size(each.bytes_freed)} freed" if each.artifacts else "its files are still used"
        put(f"{each.reference}: removed, {gone}")
