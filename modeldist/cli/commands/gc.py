"""`modeldist gc`"""

from __future__ import annotations

from typing import Annotated

import typer

from modeldist.cli import options, units
from modeldist.cli.node import node
from modeldist.cli.terminal import clean, put, put_json


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    max_age: Annotated[
        str | None, typer.Option(metavar="AGE", help="Also models not used for so long: 30d, 12h.")
    ] = None,
    target_free: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Also the least recently used ones until so much disk is free: 500GB."),
    ] = None,
    as_json: options.Json = False,
    store: options.StorePath = None,
    hub: options.HubPath = None,
    socket: options.SocketPath = None,
    agent: options.UseAgent = None,
) -> None:
    """Remove left-overs, and models when told which.

    Never pinned ones or those that a running pull uses.

    \b
    Example:
      modeldist gc --max-age 30d --target-free 500GB --dry-run
    """
    from modeldist.cli.catalogue import collect

    here = node(store=store, hub=hub, socket=socket, agent=agent)
    report = collect(
        here,
        target_free=None if target_free is None else units.parse_size(target_free),
        max_age=None if max_age is None else units.parse_duration(max_age),
        dry_run=dry_run,
    )
    if as_json:
        put_json(report)
        return
    would = "would be " if dry_run else ""
    for artifact in report.artifacts:
        put(clean(f"{artifact.name}@{artifact.digest}: {would}removed"))
    put(
        f"{units.size(report.bytes_freed)} {would}freed: {len(report.artifacts)} models, {report.blobs} blobs, "
        f"{report.partials} unfinished and {report.scratch} temporary files."
    )
