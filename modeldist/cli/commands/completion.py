"""`modeldist completion`"""

from __future__ import annotations

import click

from modeldist.cli.boundary import Command
from modeldist.cli.terminal import put


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a shell's completion script.

    \b
    Example:
      source <(modeldist completion bash)
    """
    from click.shell_completion import get_completion_class

    generator = get_completion_class(shell)
    assert generator is not None  # all choices have one
    put(generator(context.find_root().command, {}, "modeldist", "_MODELDIST_COMPLETE").source())
