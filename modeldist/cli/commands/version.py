"""`modeldist version`"""

from __future__ import annotations

import click

from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import put, put_json


@click.command(cls=Command)
@options.as_json
def version(as_json: bool) -> None:
    """Print the version.

    \b
    Example:
      modeldist version --json
    """
    import platform

    from modeldist import __version__

    if as_json:
        put_json({"version": __version__, "python": platform.python_version(), "platform": platform.platform()})
    else:
        put(f"modeldist {__version__}")
