"""A command line that ends by becoming another program: `… --exec CMD [ARG]…`, as `env`, `nice` and `exec` do.

The program gets our process: its id, its parent, its open files, its signals. So the exit code and how it ends are its
own, and in a container it is the one that is told to stop.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from modeldist.cli.boundary import Command
from modeldist.errors import ModeldistError, ProgramNotFound, ProgramNotRunnable

OPTION = "--exec"
PLACE = "{}"
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")  # Python/pylifecycle.c, init_signals; `subprocess` gives them back too


class ReplacingCommand(Command):
    """Everything after `--exec` is another program's: the function gets it as `command`, empty without the option."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        shown = "Then become this program; the rest of the line is its. {} stands for the directory."
        self.params.append(click.Option([OPTION], metavar="CMD [ARG]…", help=shown, expose_value=False))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, command = split(args)
        if not ctx.resilient_parsing and len(own) < len(args) and not command:
            ctx.fail(f"After {OPTION} come a program and its arguments, as words of their own.")
        left = super().parse_args(ctx, own)
        ctx.params["command"] = tuple(command)
        return left


def split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before the option and those after it, none where it is written `--exec=CMD`."""
    for number, word in enumerate(args):
        if word == OPTION:
            return list(args[:number]), list(args[number + 1 :])
        if word.startswith(f"{OPTION}="):
            return list(args[:number]), []
    return list(args), []


def with_directory(words: Sequence[str], directory: Path) -> list[str]:
    """`{}` in the words is the directory: alone, or as in `--model={}` and `{}/config.json`. A word that has other
    braces, such as JSON, is left as it is."""
    return [_with(word, str(directory)) for word in words]


def _with(word: str, directory: str) -> str:
    others = word.replace(PLACE, "")
    return word if "{" in others or "}" in others else word.replace(PLACE, directory)


def check_runnable(words: Sequence[str]) -> None:
    """Before a long pull: whether there is such a program, unless the pull brings it. Raises ProgramNotFound,
    ProgramNotRunnable."""
    import shutil

    program = words[0]
    if PLACE in program or shutil.which(program) is not None:
        return
    if os.sep in program and Path(program).exists():
        raise _not_runnable(program, "Permission denied")
    raise _not_found(program)


def become(words: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    """Replace this process by the program, with `variables` added to the environment. Raises ProgramNotFound,
    ProgramNotRunnable."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    for name in _IGNORED_BY_PYTHON:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(words[0], list(words), {**os.environ, **variables})  # noqa: S606 - what the user asked for
    except (FileNotFoundError, NotADirectoryError):
        raise _not_found(words[0]) from None
    except OSError as error:
        raise _not_runnable(words[0], error.strerror or str(error)) from None


def _not_found(program: str) -> ModeldistError:
    return ProgramNotFound(
        f"{program}, which {OPTION} names, was not found.", remedy="Check its name, PATH, and a script's first line."
    )


def _not_runnable(program: str, why: str) -> ModeldistError:
    return ProgramNotRunnable(
        f"{program}, which {OPTION} names, cannot be run: {why}.",
        remedy="Make it executable; a script begins with #! and its interpreter.",
    )
