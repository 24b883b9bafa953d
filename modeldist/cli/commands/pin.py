"""`modeldist pin`, `modeldist unpin`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modeldist.agent.this_node import Node
from modeldist.cli import keeping, options
from modeldist.cli.boundary import Command


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@keeping.on_nodes
@options.as_json
@options.node_options("registry", "store", "socket", "agent")
def pin(reference: str, here: Node, as_json: bool, **where: Any) -> None:
    """Keep a model: the garbage collector leaves it alone.

    On this machine, or on nodes of a cluster, which the control plane asks.

    \b
    Example:
      modeldist pin org/model:tag
      modeldist pin org/model:tag --nodes gpu-1,gpu-2 --server https://control:7420
    """
    _set(reference, here, pinned=True, as_json=as_json, **where)


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@keeping.on_nodes
@options.as_json
@options.node_options("registry", "store", "socket", "agent")
def unpin(reference: str, here: Node, as_json: bool, **where: Any) -> None:
    """Let the garbage collector have it again.

    \b
    Example:
      modeldist unpin org/model:tag
      modeldist unpin org/model:tag --all --server https://control:7420
    """
    _set(reference, here, pinned=False, as_json=as_json, **where)


def _set(
    reference: str,
    here: Node,
    *,
    pinned: bool,
    as_json: bool,
    nodes: str | None,
    everyone: bool,
    label: tuple[str, ...],
    server: str | None,
    token: Path | None,
) -> None:
    if (chosen := keeping.chosen(nodes, everyone, label, server)) is not None:
        keeping.keep("pin" if pinned else "unpin", (reference,), chosen, server, token, as_json=as_json)
        return
    from modeldist.cli.catalogue import set_pin

    set_pin(here, reference, pinned=pinned)
    if as_json:
        from modeldist.cli.terminal import put_json

        put_json({"reference": reference, "pinned": pinned})
