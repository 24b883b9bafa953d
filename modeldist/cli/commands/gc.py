"""`modeldist gc`"""

from __future__ import annotations

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import clean, put, put_json


@click.command(cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--max-age", metavar="AGE", help="Also models not used for so long: 30d, 12h.")
@click.option("--target-free", metavar="SIZE", help="Also the least recently used until so much is free: 500GB.")
@options.as_json
@options.node_options("store", "hub", "socket", "agent")
def gc(dry_run: bool, max_age: str | None, target_free: str | None, as_json: bool, here: Node) -> None:
    """Remove left-overs, and models when told which.

    Never pinned ones or those that a running pull uses.

    \b
    Example:
      modeldist gc --max-age 30d --target-free 500GB --dry-run
    """
    from modeldist.cli.catalogue import collect

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
        put(clean(f"{artifact.reference}: {would}removed"))
    put(
        f"{units.size(report.bytes_freed)} {would}freed: {units.counted(len(report.artifacts), 'model')}, "
        f"{units.counted(report.blobs, 'blob')}, "
        f"{report.partials} unfinished and {report.scratch} temporary files."
    )
