"""`modeldist ls`"""

from __future__ import annotations

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.node import Node
from modeldist.cli.terminal import attended, put_json, put_table, say

_TITLES = ("REFERENCE", "SIZE", "FILES", "USED", "", "PATH")


@click.command(cls=Command)
@options.as_json
@options.node_options("store", "hub", "socket", "agent")
def ls(as_json: bool, here: Node) -> None:
    """List the models on this machine, the last used first.

    \b
    Example:
      modeldist ls --json | jq '.[].path'
    """
    import time

    from modeldist.agent.local_records import ArtifactRow
    from modeldist.cli.catalogue import listing

    found = listing(here)
    if as_json:
        put_json(found)
        return
    if not found:
        if attended():
            say(f"Nothing is in {here.store} yet; `modeldist pull` puts it there.")
        return

    def row(listed: ArtifactRow, reference: str) -> tuple[str, ...]:
        return (
            reference,
            units.size(listed.size),
            str(listed.files),
            units.ago(time.time() - listed.last_used),
            "pinned" if listed.pinned else "",
            listed.path or "incomplete",
        )

    rows = [row(listed, reference) for listed in found for reference in listed.references or (listed.name,)]
    put_table(_TITLES, rows, right=frozenset({1, 2}))
