"""`modeldist rm`"""

from __future__ import annotations

from pathlib import Path

import click

from modeldist.agent.this_node import Node
from modeldist.cli import keeping, options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import put, put_json


@click.command(cls=Command)
@click.argument("references", metavar="REF…", nargs=-1, required=True)
@keeping.on_nodes
@options.as_json
@options.node_options("registry", "store", "hub", "socket", "agent")
def rm(
    references: tuple[str, ...],
    as_json: bool,
    here: Node,
    nodes: str | None,
    everyone: bool,
    label: tuple[str, ...],
    server: str | None,
    token: Path | None,
) -> None:
    """Remove models from this machine, pulled and built ones. Files that other models or running pulls use stay.

    Or from nodes of a cluster, which the control plane asks; there a model that is pinned stays.

    \b
    Example:
      modeldist rm org/model:old org/model:older
      modeldist rm org/model:old --label gpu=h100 --server https://control:7420
    """
    if (chosen := keeping.chosen(nodes, everyone, label, server)) is not None:
        keeping.keep("evict", references, chosen, server, token, as_json=as_json)
        return
    from modeldist.cli.catalogue import remove

    removed = [remove(here, reference) for reference in references]
    if as_json:
        put_json(removed)
        return
    for each in removed:
        gone = f"{units.size(each.bytes_freed)} freed" if each.artifacts else "its files are still used"
        put(f"{each.reference}: removed, {gone}")
