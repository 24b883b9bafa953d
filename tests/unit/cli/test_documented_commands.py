"""Every `modeldist` command line in the documents and in the help exists, with the options it is shown with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from modeldist.cli.main import program
from modeldist.cli.replacing import ReplacingCommand, split

ROOT = Path(__file__).parents[3]
DOCUMENTS = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
CALL = re.compile(r"(?<!-n)(?<!install)(?<!namespace)(?:^|/|\(| )modeldist ((?:--help|[a-z]+)(?: [^)|#]*)?)")


def documented() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for line in (ROOT / document).read_text().splitlines():
            if line.startswith("$ ") and (found := CALL.search(line)):
                yield document, whole(found[1].split("  ")[0])
    context = click.Context(program)
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        assert command is not None
        below = list(command.commands.values()) if isinstance(command, click.Group) else []
        for line in "\n".join(each.help or "" for each in (command, *below)).splitlines():
            if line.startswith("  ") and (found := CALL.search(line)):
                yield f"{name} --help", whole(found[1])


def whole(line: str) -> str:
    """Without a quote that began before the command."""
    return line.strip().rstrip('"') if line.count('"') % 2 else line.strip()


LINES = sorted(set(documented()))


def test_there_are_some() -> None:
    assert {document for document, _ in LINES} >= {"README.md", "push --help"}
    assert len(LINES) > 20


@pytest.mark.parametrize(("where", "line"), LINES)
def test_it_exists(where: str, line: str) -> None:
    name, *arguments = shlex.split(line)
    if name == "--help":
        return
    context = click.Context(program)
    command = program.get_command(context, name)
    assert command is not None, f"{where} names {name}"
    if isinstance(command, click.Group):
        assert arguments[0] in command.commands, f"{where} names {name} {arguments[0]}"
        command = command.commands[arguments.pop(0)]
    inside = click.Context(command, **command.context_settings)
    own, others = split(arguments)  # what comes after --exec is another program's
    assert not others or isinstance(command, ReplacingCommand)
    command.make_parser(inside).parse_args(own)
