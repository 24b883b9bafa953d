"""The program `modeldist`: which commands there are, in the order its help shows them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import NoReturn

import click

from modeldist import __version__
from modeldist.cli.boundary import closed_streams, fail
from modeldist.cli.terminal import unwritable

_PANELS = {
    "Models on this machine": (
        "pull",
        "env",
        "plan",
        "mount",
        "unmount",
        "fetch",
        "extract",
        "ls",
        "rm",
        "gc",
        "pin",
        "unpin",
        "verify",
        "why",
        "top",
        "doctor",
    ),
    "Publishing": (
        "build",
        "modelfile",
        "optimize",
        "lint",
        "push",
        "copy",
        "attach",
        "tag",
        "sign",
        "trust",
        "keygen",
        "inspect",
        "prune",
        "login",
        "logout",
    ),
    "Clusters": (
        "server",
        "agent",
        "token",
        "authority",
        "status",
        "preheat",
        "profile",
        "launch",
        "release",
        "rollout",
    ),
    "The program": ("version", "completion", "bench"),
}
_HOMES = {"unpin": "pin", "logout": "login", "unmount": "mount"}
"""Modules of `modeldist.cli.commands`, where they are not called as the command is."""


class Commands(click.Group):
    """Imports a command when it is asked for: starting `pull` must not wait for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in _PANELS.values() for name in names]

    def panels(self) -> Mapping[str, tuple[str, ...]]:
        """Names of commands under the titles of the help."""
        return _PANELS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        home = import_module(f"modeldist.cli.commands.{_HOMES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(home, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            if close := get_close_matches(args[0], self.list_commands(ctx), n=1):
                ctx.fail(f"{error.message} Did you mean {close[0]!r}?")
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        limit = formatter.width - 6 - max(map(len, self.list_commands(ctx)))
        for panel, names in _PANELS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(panel):
                formatter.write_dl([(name, found.get_short_help_str(limit)) for name, found in commands if found])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modeldist", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors. [env: MODELDIST_DEBUG]")
def program(debug: bool) -> None:
    """Puts AI models on every machine that needs them: one origin read, every byte verified.

    `modeldist COMMAND --help` explains a command and shows an example.
    """
    if debug:
        os.environ["MODELDIST_DEBUG"] = "1"


def run() -> NoReturn:
    """Entry point; leaves by SystemExit."""
    # Imports make much and free nothing: do not look for garbage every 700 objects, which takes a tenth of the time…
    gc.set_threshold(50_000)
    closed_streams()
    try:
        sys.exit(program(prog_name="modeldist"))
    except OSError as error:  # while click printed help
        ended = unwritable(error)
        if isinstance(ended, SystemExit):
            raise ended from None
        fail(ended, as_json=False)
    finally:
        gc.freeze()  # … nor in every module at exit, which takes as much again
