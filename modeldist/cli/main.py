"""The program `modeldist`: every command, in the order its help shows them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from modeldist.cli.boundary import Command, Commands, closed_streams
from modeldist.cli.commands.agent import agent
from modeldist.cli.commands.build import build
from modeldist.cli.commands.completion import completion
from modeldist.cli.commands.gc import gc
from modeldist.cli.commands.inspect import inspect
from modeldist.cli.commands.login import login, logout
from modeldist.cli.commands.ls import ls
from modeldist.cli.commands.pin import pin, unpin
from modeldist.cli.commands.preheat import preheat
from modeldist.cli.commands.pull import pull
from modeldist.cli.commands.push import push
from modeldist.cli.commands.rm import rm
from modeldist.cli.commands.server import server
from modeldist.cli.commands.status import status
from modeldist.cli.commands.version import version
from modeldist.cli.commands.why import why

_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Models on this machine": (pull, ls, rm, gc, pin, unpin, why),
    "Publishing": (build, push, inspect, login, logout),
    "Clusters": (server, agent, status, preheat),
    "The program": (version, completion),
}

app = typer.Typer(
    name="modeldist",
    cls=Commands,
    help="Puts AI models on every machine that needs them: one origin read, every byte verified.\n\n"
    "`modeldist COMMAND --help` explains a command and shows an example.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def program(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors. [env: MODELDIST_DEBUG]")] = False,
) -> None:
    if debug:
        os.environ["MODELDIST_DEBUG"] = "1"


for _panel, _functions in _PANELS.items():
    for _function in _functions:
        app.command(_function.__name__, cls=Command, rich_help_panel=_panel)(_function)


def run() -> Any:
    """Entry point. Always leaves by SystemExit."""
    closed_streams()
    return app(prog_name="modeldist")
