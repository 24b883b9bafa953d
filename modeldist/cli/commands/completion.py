"""`modeldist completion`"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from modeldist.cli.terminal import put


class Shell(StrEnum):
    """Shells with a completion script."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Which shell.")]) -> None:
    """Print a shell's completion script.

    \b
    Example:
      source <(modeldist completion bash)
    """
    from typer import completion as generator

    script = generator.get_completion_script  # type: ignore[attr-defined]  # what --show-completion prints
    put(script(prog_name="modeldist", complete_var="_MODELDIST_COMPLETE", shell=shell.value))
