"""`modeldist fetch`"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.byte_bar import bar
from modeldist.cli.terminal import attended, put, put_json, say
from modeldist.cli.transfers import Account

if TYPE_CHECKING:
    from modelpack.oci import Progress
    from modelpack.oci.fetch import FetchedFiles


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.option("--output", "-o", type=options.PATH, required=True, metavar="DIR", help="Directory to write to.")
@click.option("--patterns", "-p", multiple=True, metavar="GLOB", help="Only files like this, such as '**/*.json'.")
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Files at once.")
@options.node_options("registry", "plain_http", "policy")
@options.as_json
@options.quiet
def fetch(
    reference: str,
    output: Path,
    patterns: tuple[str, ...],
    concurrency: int,
    here: Node,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fetch files of a model into a plain directory.

    From a registry, without the store. Nothing but what the patterns match is fetched (* stays in a directory, ** does
    not), and every file is verified. What is there already stays; interrupted, the next fetch goes on where this one
    was. Under a policy, nothing is fetched of a model that no accepted signature vouches for.

    \b
    Example:
      modeldist fetch registry.example/org/model:v1 -o ./config --patterns '*.json' --patterns 'tokenizer*'
    """
    import asyncio

    from modeldist.cli.accepted import accepted
    from modeldist.cli.registries import registry_client
    from modeldist.origins.modelpack_errors import in_our_words
    from modelpack.oci.fetch import fetch_files
    from modelpack.reference import Reference

    folder = output.expanduser()
    ref = Reference.parse(reference, here.registry)
    account = Account()

    async def run(advance: Callable[[int], None]) -> FetchedFiles:
        def tell(progress: Progress) -> None:
            account.add(progress)
            advance(progress.done)

        wanted = await accepted(ref, here)
        async with registry_client(here.plain_http) as client:
            return await fetch_files(wanted, folder, client, tell, patterns=patterns, parallel=concurrency)

    shown = attended() and not quiet
    with in_our_words(str(ref), ref.registry), bar(None, shown=shown) as advance:
        found = asyncio.run(run(advance))
    if shown:
        say(f"{units.counted(len(found.files), 'file')}, {units.size(account.moved)} fetched")
    if as_json:
        put_json({"path": str(output), "digest": found.digest, "files": found.files, "bytes_fetched": account.moved})
    else:
        put(str(output))
