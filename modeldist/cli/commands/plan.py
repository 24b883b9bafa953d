"""`modeldist plan`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.selecting import selecting
from modeldist.cli.terminal import clean, put, put_json, put_table

if TYPE_CHECKING:
    from modeldist.origins.plans import FileView, PlanView


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@selecting
@options.as_json
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "socket", "agent")
def plan(reference: str, as_json: bool, here: Node) -> None:
    """Show which bytes a pull would need, before any of them moves.

    Of weights only headers are read, and those only for --rank and --tensor. Of a file of which ranges are needed, a
    pull moves the whole chunks around them: that sum is said as well.

    \b
    Example:
      modeldist plan org/model:tag --rank tp=0/4 --json | jq .needed
    """
    found = _plan(reference, here)
    if as_json:
        put_json(found)
        return
    put(clean(found.resolved))
    files = units.counted(len(found.files), "file")
    whole = f"; {units.size(found.moved)} in whole chunks" if found.moved != found.needed else ""
    put(f"{units.size(found.needed)} of {units.size(found.size)} are needed, in {files}{whole}")
    put("")
    titles = ("FILE", "NEEDED", "SIZE", "KIND", "RANGES")
    put_table(titles, [_row(file) for file in found.files], right=frozenset({1, 2}))
    for note in found.notes:
        put(clean(f"note: {note}"))


def _plan(reference: str, here: Node) -> PlanView:
    if (agent := here.running_agent()) is not None:
        return agent.plan(reference)
    import asyncio

    return asyncio.run(_by_itself(reference, here))


async def _by_itself(reference: str, here: Node) -> PlanView:
    from modeldist.agent.parts import wanted_size
    from modeldist.origins.plans import plan_view
    from modeldist.origins.router import Origins

    origins = Origins(here.origin_settings())
    try:
        artifact = await origins.resolve(reference)
        return plan_view(reference, artifact, wanted_size(artifact))
    finally:
        await origins.close()


def _row(file: FileView) -> tuple[str, ...]:
    ranges = str(len(file.ranges)) if file.ranges else "whole"
    return (file.path, units.size(file.needed), units.size(file.size), file.kind, ranges)
