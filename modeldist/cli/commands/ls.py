"""`modeldist ls`"""

from __future__ import annotations

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import attended, columns, put_json, put_table, say, table_lines

_TITLES: tuple[str, ...] = ("REFERENCE", "SIZE", "FILES", "USED", "", "PATH")


_SHORTEST = 20  # columns of a reference, however narrow the terminal

Rows = list[tuple[str, ...]]


@click.command(cls=Command)
@click.option("--built", is_flag=True, help="What was built here, for `push`, instead of what was pulled.")
@options.as_json
@options.node_options("store", "hub", "socket", "agent")
def ls(built: bool, as_json: bool, here: Node) -> None:
    """List the models on this machine, the last used first.

    Of a part of a model, the size says how much of it was selected. On a terminal too narrow for them the directories
    are left out.

    \b
    Example:
      modeldist ls --json | jq '.[].path'
      modeldist ls --built
    """
    import time

    from modeldist.agent.local_records import ArtifactRow
    from modeldist.cli.catalogue import listing

    if built:
        _list_built(here, as_json)
        return
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
            units.size(listed.size) + (f" of {units.size(listed.whole)}" if listed.whole > listed.size else ""),
            str(listed.files),
            units.ago(time.time() - listed.last_used),
            "pinned" if listed.pinned else "",
            listed.path or ("mirrored" if reference.startswith("oci://") else "incomplete"),
        )

    rows = [row(listed, reference) for listed in found for reference in listed.references or (listed.name,)]
    titles, right = _TITLES, frozenset({1, 2})
    if room := columns():
        titles, rows = fitted(titles, rows, room)
    put_table(titles, rows, right=right)


def _list_built(here: Node, as_json: bool) -> None:
    from modeldist.cli.layouts import built_models

    found = built_models(here.store)
    if as_json:
        put_json(found)
        return
    rows = [(model.reference, units.size(model.size), str(model.files), model.digest) for model in found]
    if rows:
        put_table(("REFERENCE", "SIZE", "FILES", "DIGEST"), rows, right=frozenset({1, 2}))
    elif attended():
        say("Nothing is built here yet; `modeldist build` does it.")


def fitted(titles: tuple[str, ...], rows: Rows, room: int) -> tuple[tuple[str, ...], Rows]:
    """At most `room` columns wide, as wrapped lines are no table: without the directories where they do not fit, and
    then with the middle of long references cut out. Both are whole with --json or in a pipe."""
    if _width(titles, rows) <= room:
        return titles, rows
    titles, rows = titles[:-1], [row[:-1] for row in rows]
    if (excess := _width(titles, rows) - room) <= 0:
        return titles, rows
    longest = max(_SHORTEST, max(len(row[0]) for row in rows) - excess)
    return titles, [(_without_middle(row[0], longest), *row[1:]) for row in rows]


def _width(titles: tuple[str, ...], rows: Rows) -> int:
    return max(map(len, table_lines(titles, rows)))


def _without_middle(text: str, longest: int) -> str:
    half = longest // 2
    return text if len(text) <= longest else f"{text[: longest - half - 1]}…{text[-half:]}"
