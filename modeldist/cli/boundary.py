"""The border between commands and the shell: every failure becomes one sentence on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, NoReturn

import click

from modeldist.cli.failures import known_failure
from modeldist.cli.terminal import clean, put_json, say
from modeldist.errors import Cancelled, ModeldistError


def debugging() -> bool:
    """Whether `--debug` or MODELDIST_DEBUG asks for tracebacks."""
    return os.environ.get("MODELDIST_DEBUG", "") not in ("", "0")


class Command(click.Command):
    """A command whose errors are sentences. With its `--json`, stdout gets `{"error": {code, message, remedy}}` too."""

    def invoke(self, ctx: click.Context) -> Any:
        as_json = bool(ctx.params.get("as_json"))
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail(Cancelled("Stopped."), as_json=as_json)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # usage errors and --help are click's own business
        except Exception as error:
            if debugging():
                traceback.print_exception(error)
            fail(known_failure(error) or _bug(error), as_json=as_json)


def fail(error: ModeldistError, *, as_json: bool) -> NoReturn:
    """Say it and leave with the error's exit code."""
    say(f"modeldist: {clean(str(error))}")
    if as_json:
        put_json({"error": error.info()})
    raise SystemExit(error.exit_code)


def _bug(error: Exception) -> ModeldistError:
    return ModeldistError(
        f"Something unexpected happened: {type(error).__name__}: {error}",
        remedy="Run `modeldist --debug …` again for the traceback, and report it.",
    )


def closed_streams() -> None:
    """Started without stdin, stdout or stderr (`>&-`): use /dev/null, or a socket could become our stdout."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for the process's whole life
