"""`modeldist inspect`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import clean, put, put_json


@click.command(cls=Command)
@click.argument("target", metavar="REF|DIR|LAYOUT[:TAG]")
@click.option("--raw", is_flag=True, help="Print the manifest, byte for byte.")
@click.option("--layout", type=options.PATH, metavar="LAYOUT", help="Look into this OCI layout, not the registry.")
@options.as_json
@options.node_options("registry", "plain_http", "hf_endpoint")
def inspect(target: str, raw: bool, layout: Path | None, as_json: bool, here: Node) -> None:
    """Show what a model is, without fetching its weights.

    Digest, format, files, configuration, and how it departs from the specification.

    What exists as a directory is taken as one; write the registry in front to mean a reference of the same name.

    \b
    Example:
      modeldist inspect registry.example/org/model:v1
    """
    from modeldist.cli.inspection import lines, look

    found = look(target, layout, here)
    if raw:
        sys.stdout.buffer.write(found.manifest())
        sys.stdout.buffer.flush()
    elif as_json:
        put_json(found.about)
    else:
        for line in lines(found.about):
            put(clean(line))
