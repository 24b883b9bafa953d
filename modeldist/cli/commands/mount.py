"""`modeldist mount` and `modeldist unmount`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.selecting import selecting
from modeldist.cli.terminal import clean, put, put_json, say


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.argument("directory", metavar="DIR", type=options.PATH)
@selecting
@click.option("--background", is_flag=True, help="Return when it is mounted; a process of its own serves it.")
@click.option(
    "--allow-other/--no-allow-other",
    default=None,
    help="Whether all users may read it. [default: if the kernel lets this one mount, as root]",
)
@click.option(
    "--direct/--no-direct",
    default=True,
    help="Once all is here, show the store's files without FUSE, where this user may. [default: --direct]",
)
@click.option("--only-proven", is_flag=True, help="No byte of a file without chunk table before its whole is proven.")
@click.option("--offline", is_flag=True, help="Only what is here; ask nobody.")
@options.as_json
@options.quiet
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def mount(
    reference: str,
    directory: Path,
    background: bool,
    as_json: bool,
    quiet: bool,
    here: Node,
    **how: Any,
) -> None:
    """Have a model as a directory at once, its bytes when read.

    DIR, which is made if it is not there, shows the model's files before they have arrived; a program that reads what
    is missing waits for just that, and what it will read next comes before the rest. It is read-only.

    Prints DIR when it can be read, then serves it until `modeldist unmount DIR`, ^C or SIGTERM. Needs FUSE 3 and the
    extra `mount` (pyfuse3).

    \b
    Example:
      modeldist mount org/model:tag /mnt/model --background
      vllm serve /mnt/model
      modeldist unmount /mnt/model
    """
    if background:
        from modeldist.cli.mount_in_background import start

        put(start(here.store, directory))
        return
    from modeldist.cli.embedded import keep_logs_from_the_terminal
    from modeldist.mount.mounting import Mounted, Mounting, mount_here

    keep_logs_from_the_terminal()

    def ready(mounted: Mounted) -> None:
        if as_json:
            put_json(mounted)
        else:
            put(mounted.directory)

    def tell(text: str) -> None:
        if not quiet:
            say(f"modeldist: {clean(text)}")

    mount_here(Mounting(reference, directory, here, **how), ready, tell)


@click.command(cls=Command)
@click.argument("directory", metavar="DIR", type=options.PATH)
@click.option("--lazy", is_flag=True, help="Also while files of it are open: their readers keep them.")
@options.node_options("store")
def unmount(directory: Path, lazy: bool, here: Node) -> None:
    """Take a mounted model away again.

    Also one whose process was killed. What has arrived stays in the store.

    \b
    Example:
      modeldist unmount /mnt/model
    """
    from modeldist.mount.mountpoint import unmount as take_away
    from modeldist.mount.place import Place, directory_of

    take_away(directory_of(directory), Place(here.store, directory_of(directory)), lazy=lazy)
