"""The border between commands and the shell: every failure becomes one sentence on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from modeldist.cli.failures import known_failure
from modeldist.cli.terminal import clean, put_json, say
from modeldist.errors import Cancelled, ModeldistError

BUG_EXIT = 1


def debugging() -> bool:
    """Whether `--debug` or MODELDIST_DEBUG asks for tracebacks."""
    return os.environ.get("MODELDIST_DEBUG", "") not in ("", "0")


class Command(TyperCommand):
    """A command whose errors are sentences. With its `--json`, stdout gets `{"error": {code, message, remedy}}` too."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail(Cancelled("Stopped."), as_json=_wants_json(ctx))
        except Exception as error:
            if type(error).__module__.startswith(("typer", "click")):
                raise  # usage errors and typer.Exit: typer's own business
            if debugging():
                traceback.print_exception(error)
            fail(known_failure(error) or _bug(error), as_json=_wants_json(ctx))


def fail(error: ModeldistError, *, as_json: bool) -> NoReturn:
    """Say it and leave with the error's exit code."""
    say(f"modeldist: {clean(str(error))}")
    if as_json:
        put_json({"error": error.info()})
    raise typer.Exit(error.exit_code) from None


def _wants_json(ctx: Any) -> bool:
    return bool(ctx.params.get("as_json"))


def _bug(error: Exception) -> ModeldistError:
    text = str(error) or type(error).__name__
    return ModeldistError(
        f"Something unexpected happened: {type(error).__name__}: {text}",
        remedy="Run `modeldist --debug …` again for the traceback, and report it.",
    )


class Commands(TyperGroup):
    """The program's help lists its commands by what they are for, in the order they were added."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        limit = formatter.width - 6 - max(len(name) for name in self.commands)
        for name, command in self.commands.items():
            if not command.hidden:
                panel = getattr(command, "rich_help_panel", None) or "Commands"
                panels.setdefault(panel, []).append((name, command.get_short_help_str(limit)))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


def closed_streams() -> None:
    """Started without stdin, stdout or stderr (`>&-`): use /dev/null, or a socket could become our stdout."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for the process's whole life
