"""modeldist(1): all commands with their options, as troff. `make manual` writes deploy/package/modeldist.1

Requests are those of man(7) alone, so that groff and mandoc both render it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from deploy.site.commands import Command, Panel, Paragraph, panels, whole_program
from deploy.site.exit_codes import exit_codes
from deploy.site.settings import variables
from modeldist import __version__

_SPECIAL = {"\\": "\\e", "-": "\\-", "`": "\\(ga", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti"}


def manual_page(date: str) -> str:
    """The same text for the same program and date, which is written like 2026-12-31."""
    lines = [
        f'.TH MODELDIST 1 "{date}" "modeldist {__version__}" "User Commands"',
        ".SH NAME",
        f"modeldist \\- {_text('puts AI models on every machine that needs them')}",
        *_synopsis(),
        ".SH DESCRIPTION",
        *_body(whole_program()),
    ]
    for panel in panels():
        lines += _panel(panel)
    lines += [".SH ENVIRONMENT", *_environment()]
    lines += [".SH EXIT STATUS", *_exit_status()]
    lines += [
        ".SH FILES",
        *_tagged("~/.cache/modeldist", "The store: models, and what has arrived of others."),
        *_tagged("~/.local/state/modeldist", "Of a control plane: its database and tokens."),
    ]
    return "\n".join(lines) + "\n"


def _synopsis() -> Iterator[str]:
    yield ".SH SYNOPSIS"
    yield ".B modeldist"
    yield _line("[OPTIONS] COMMAND [ARGS]…")


def _panel(panel: Panel) -> Iterator[str]:
    yield f".SH {_quoted(panel.title.upper())}"
    for command in panel.commands:
        for each in command.all():
            yield f".SS {_quoted(each.usage)}"
            yield from _body(each)


def _body(command: Command) -> Iterator[str]:
    for number, paragraph in enumerate(command.paragraphs):
        yield from _paragraph(paragraph, first=number == 0)
    for option in command.options:
        yield from _tagged(option.names, option.says)


def _paragraph(paragraph: Paragraph, *, first: bool) -> Iterator[str]:
    if not first:
        yield ".PP"
    if not paragraph.verbatim:
        yield _line(paragraph.text)
        return
    yield ".nf"
    yield from (_line(line) for line in paragraph.text.splitlines())
    yield ".fi"


def _tagged(term: str, says: str) -> Iterator[str]:
    yield ".TP"
    yield f"\\fB{_line(term)}\\fR"
    yield _line(says)


def _environment() -> Iterator[str]:
    for variable in variables():
        yield from _tagged(variable.name, variable.says)


def _exit_status() -> Iterator[str]:
    for code, causes in exit_codes():
        yield from _tagged(str(code), causes)


def _line(text: str) -> str:
    """A line of text: what begins with a dot or a quote is no request."""
    shown = _text(text)
    return f"\\&{shown}" if shown.startswith((".", "\\(aq")) else shown


def _text(text: str) -> str:
    shown = "".join(_SPECIAL.get(letter, letter) for letter in text)
    return re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", shown)


def _quoted(text: str) -> str:
    """One argument of a request."""
    return '"' + _text(text).replace('"', "\\(dq") + '"'


if __name__ == "__main__":
    sys.stdout.write(manual_page(sys.argv[1]))
