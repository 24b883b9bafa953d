"""`modeldist launch`"""

from __future__ import annotations

from pathlib import Path

import click

from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.errors import UsageError


@click.command(cls=Command, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--versions",
    type=options.PATH,
    required=True,
    metavar="DIR",
    help="Where versions of this program are installed, for their owner alone.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="agent|server …")
def launch(versions: Path, arguments: tuple[str, ...]) -> None:
    """Run an agent, or a control plane, that can update itself.

    Runs the version of this program that was kept last, this one at first, and leaves with its exit code. A version on
    trial that does not come up makes place for the one before.

    \b
    Example:
      modeldist launch --versions /var/lib/modeldist/versions agent --release-key release.pub --control https://control:7420
    """
    from modeldist.upgrade.launcher import Launcher

    if not arguments or arguments[0] not in ("agent", "server"):
        raise UsageError("What is to be run?", remedy="Write `modeldist launch --versions DIR agent …`, or `server …`.")
    raise SystemExit(Launcher(versions.absolute(), arguments).run())
