"""`modeldist preheat`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from modeldist.cli import options, units
from modeldist.cli.boundary import Command, fail
from modeldist.cli.key_values import key_values
from modeldist.cli.selecting import selecting
from modeldist.cli.terminal import attended, clean, put, put_json, say
from modeldist.cli.traced import traced
from modeldist.errors import UsageError

if TYPE_CHECKING:
    from modeldist.client import AsyncClient, Nodes
    from modeldist.control.views import PullNodeView, PullView


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@selecting
@click.option("--nodes", metavar="A,B,…", help="These nodes, by name or id.")
@click.option("--all", "everyone", is_flag=True, help="Every node, also those that join meanwhile.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Nodes with this label (repeatable: all of them).")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="N nodes, the least busy first; see --label.")
@click.option(
    "--percentage",
    type=click.IntRange(1, 100),
    metavar="P",
    help="P of each hundred nodes, rounded up; with --label of those that carry it.",
)
@click.option("--wait", is_flag=True, help="Follow it; the exit code tells how it ended.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Ask a control plane without room again for so long. [env: MODELDIST_PATIENCE; 60]",
)
@options.server
@options.token
@options.as_json
def preheat(
    reference: str,
    nodes: str | None,
    everyone: bool,
    label: tuple[str, ...],
    count: int | None,
    percentage: int | None,
    wait: bool,
    patience: float | None,
    server: str | None,
    token: Path | None,
    as_json: bool,
) -> None:
    """Put a model on nodes before it is needed.

    Without --server the control plane that ran on this machine is asked. ^C while waiting leaves the nodes pulling.

    \b
    Example:
      modeldist preheat org/model:tag --label gpu=h100 --percentage 25 --wait --server https://control:7420
    """
    import asyncio
    import uuid

    from modeldist.cli.control_plane import client

    chosen = choose(nodes, everyone, label, count, percentage)

    async def ask() -> PullView:
        async with client(server, token, patience) as plane:
            # The key makes it one pull, however often it is asked for.
            pull = await plane.create_pull(reference, chosen, idempotency_key=uuid.uuid4().hex)
            if wait:
                names.update(await names_of_nodes(plane))
                return await follow(plane, pull, names, quiet=as_json)
            return pull

    names: dict[str, str] = {}
    with traced("preheat", reference):
        pull = asyncio.run(ask())
    if wait and pull.state != "done":
        from modeldist.client.pull_events import failure_of

        error = failure_of(pull, names)
        if as_json:
            put_json(msgspec.to_builtins(pull) | {"error": error.info()})
        fail(error, as_json=False)
    if as_json:
        put_json(pull)
    elif wait:
        put(f"{clean(pull.reference)} is on {units.counted(len(pull.nodes), 'node')}.")
    else:
        put(pull.id)
        if attended():
            say(
                f"{units.counted(len(pull.nodes), 'node')} will pull it; `modeldist status --server URL` shows how far."
            )


def choose(
    nodes: str | None, everyone: bool, label: tuple[str, ...], count: int | None, percentage: int | None
) -> Nodes:
    """The nodes meant. Raises UsageError unless exactly one way was used."""
    from modeldist.client import SomeNodes

    given = [bool(nodes), everyone, bool(label) or count is not None or percentage is not None]
    if sum(given) != 1 or (count is not None and percentage is not None):
        raise UsageError(
            "Which nodes?" if not any(given) else "Nodes were chosen in several ways.",
            remedy="Give one of --nodes, --all, --label, --count, --percentage; --label may have one of the last two.",
        )
    if nodes:
        return [name.strip() for name in nodes.split(",") if name.strip()]
    if everyone:
        return "all"
    some = SomeNodes()
    if label:
        some["labels"] = key_values(label, "--label")
    if count is not None:
        some["count"] = count
    if percentage is not None:
        some["percentage"] = percentage
    return some


async def names_of_nodes(plane: AsyncClient) -> dict[str, str]:
    """What people call each node, by its id."""
    return {node.node: node.name async for node in plane.nodes()}


async def follow(plane: AsyncClient, pull: PullView, names: Mapping[str, str], *, quiet: bool) -> PullView:
    """Tell of every change on stderr until the pull ends; the pull then."""
    shown: dict[str, str] = {}
    async for event in plane.follow(pull.id):
        changed = event.pull.nodes if event.pull else [event.node] if event.node else []
        tell(changed, shown, names, quiet=quiet)
        pull = event.pull or pull
    return pull


def tell(nodes: list[PullNodeView], shown: dict[str, str], names: Mapping[str, str], *, quiet: bool) -> None:
    """A line for each node whose state changed since it was last shown."""
    for node in nodes:
        if shown.get(node.node) != node.state:
            shown[node.node] = node.state
            if not quiet:
                say(clean(node_line(node, names)))


def node_line(node: PullNodeView, names: Mapping[str, str]) -> str:
    name = names.get(node.node) or node.node
    if node.error:
        return f"{name}: {node.state}: {node.error.message} {node.error.remedy}".rstrip()
    if node.state != "done":
        return f"{name}: {node.state}"
    count = node.bytes
    return (
        f"{name}: done, {units.size(count.origin)} from the origin, {units.size(count.peers)} from peers, "
        f"{units.size(count.local)} already there: {node.path}"
    )
