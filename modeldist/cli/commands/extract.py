"""`modeldist extract`"""

from __future__ import annotations

from pathlib import Path

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import attended, clean, put, put_json, say


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.option(
    "--output", "-o", type=options.PATH, required=True, metavar="DIR", help="New or empty directory to write to."
)
@click.option("--layout", type=options.PATH, metavar="LAYOUT", help="OCI layout that holds it. [default: in the store]")
@options.as_json
@options.quiet
@options.node_options("registry", "store", "hub")
def extract(reference: str, output: Path, layout: Path | None, as_json: bool, quiet: bool, here: Node) -> None:
    """Write a model that is here to a plain directory.

    Built or pulled, it is on this machine already. Archives are unpacked, what was built is verified on its way (what
    was pulled has been), and DIR appears when all of it is there. It is independent of the store. REF may be
    oci-layout:DIR:TAG.

    \b
    Example:
      modeldist extract registry.example/org/model:v1 -o ./my-model
    """
    from modeldist.cli.extracting import extracted

    talk = attended() and not quiet
    made = extracted(
        reference,
        output.expanduser(),
        layout,
        here,
        on_file=(lambda name, size: say(clean(f"  {name}  {units.size(size)}"))) if talk else None,
    )
    if as_json:
        put_json({"path": str(output), "digest": made.digest, "files": made.files, "size": made.size})
    else:
        put(str(output))
