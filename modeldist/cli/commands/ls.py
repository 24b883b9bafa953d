"""`modeldist ls`"""

from __future__ import annotations

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.node import Node
from modeldist.cli.terminal import attended, columns, put_json, put_table, say, table_lines

_TITLES: tuple[str, ...] = ("REFERENCE", "SIZE", "FILES", "USED", "", "PATH")


@click.command(cls=Command)
@options.as_json
@options.node_options("store", "hub", "socket", "agent")
def ls(as_json: bool, here: Node) -> None:
    """List the models on this machine, the last used first.

    On a terminal too narrow for them the directories are left out.

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
    titles, right = _TITLES, frozenset({1, 2})
    if (room := columns()) and max(map(len, table_lines(titles, rows, right=right))) > room:
        # Wrapped lines are no table; a path is one `modeldist pull --offline` or --json away.
        titles, rows = titles[:-1], [row[:-1] for row in rows]
    put_table(titles, rows, right=right)
