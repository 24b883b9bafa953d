"""Keeping and removing models on nodes of a cluster, which the control plane asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import fail
from modeldist.cli.key_values import key_values
from modeldist.cli.terminal import clean, put, put_json
from modeldist.errors import ErrorInfo, ModeldistError, NotFound, UsageError

if TYPE_CHECKING:
    from modeldist.client import Nodes
    from modeldist.control.views import KeepingNodeView, KeepingView

Action = Literal["pin", "unpin", "evict"]

_DONE = {"pin": "pinned", "unpin": "not pinned any more"}


def on_nodes(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name nodes; without any it is this machine that is meant."""
    for option in (
        options.token,
        options.server,
        click.option("--label", multiple=True, metavar="KEY=VALUE", help="On connected nodes with this label."),
        click.option("--all", "everyone", is_flag=True, help="On all connected nodes."),
        click.option("--nodes", metavar="A,B,…", help="On these nodes of the cluster, by name or id."),
    ):
        command = option(command)
    return command


def chosen(nodes: str | None, everyone: bool, label: tuple[str, ...], server: str | None) -> Nodes | None:
    """The nodes meant; None: this machine. Raises UsageError."""
    given = [bool(nodes), everyone, bool(label)]
    if not any(given):
        if server is not None:
            raise UsageError(
                "Which nodes?", remedy="Give one of --nodes, --all, --label; none of them without --server."
            )
        return None
    if sum(given) != 1:
        raise UsageError("Nodes were chosen in several ways.", remedy="Give one of --nodes, --all, --label.")
    if nodes:
        return [name.strip() for name in nodes.split(",") if name.strip()]
    return "all" if everyone else {"labels": key_values(label, "--label")}


def keep(
    action: Action, references: tuple[str, ...], nodes: Nodes, server: str | None, token: Path | None, *, as_json: bool
) -> None:
    """Have it done and say what each node did. The exit code is that of the first failure; it is one, too, when no
    node has a model."""
    import asyncio

    from modeldist.cli.control_plane import client

    async def ask() -> tuple[list[KeepingView], dict[str, str]]:
        async with client(server, token) as plane:
            views = [await getattr(plane, action)(reference, nodes) for reference in references]
            return views, {node.node: node.name async for node in plane.nodes()}

    views, names = asyncio.run(ask())
    if as_json:
        put_json(views)
    else:
        for view in views:
            for node in view.nodes:
                put(clean(f"{view.reference} on {names.get(node.node) or node.node}: {_told(view.action, node)}"))
    for view in views:
        if (error := _failure(view, names)) is not None:
            fail(error, as_json=False)


def _told(action: str, node: KeepingNodeView) -> str:
    if node.state == "absent":
        return "is not there"
    if node.error is not None:
        return f"failed: {node.error.message}"
    return _DONE.get(action) or f"removed, {units.size(node.bytes_freed)} freed"


def _failure(view: KeepingView, names: Mapping[str, str]) -> ModeldistError | None:
    for node in view.nodes:
        if node.state == "failed" and node.error is not None:
            told = ErrorInfo(node.error.code, node.error.message, node.error.remedy)
            return told.as_error().about(names.get(node.node) or node.node)
    if all(node.state == "absent" for node in view.nodes):
        return NotFound(f"None of these nodes has {view.reference}.", remedy="Name it as it was pulled.")
    return None
