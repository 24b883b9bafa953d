"""What `modeldist` can be told, as plain values: read off the click commands, for the site and the manual page."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import click

from modeldist.cli.main import Commands, program


@dataclass(frozen=True)
class Paragraph:
    """`verbatim` ones keep their lines: examples."""

    text: str
    verbatim: bool = False


@dataclass(frozen=True)
class Option:
    """`names` as the help shows them, with what they take: `-v, --verbose`, `--store DIR`."""

    names: str
    says: str


@dataclass(frozen=True)
class Command:
    """`name` with all before it: `modeldist token create`."""

    name: str
    usage: str
    paragraphs: tuple[Paragraph, ...]
    options: tuple[Option, ...]
    below: tuple[Command, ...] = ()

    @property
    def summary(self) -> str:
        """Its first sentence."""
        return self.paragraphs[0].text.partition(". ")[0].rstrip(".") + "." if self.paragraphs else ""

    def all(self) -> Iterator[Command]:
        """Itself, and what is below it."""
        yield self
        for command in self.below:
            yield from command.all()


@dataclass(frozen=True)
class Panel:
    """Commands that the help shows together."""

    title: str
    commands: tuple[Command, ...]


def whole_program() -> Command:
    """`modeldist` itself, with its own options and without the commands."""
    return _command(program, click.Context(program, info_name="modeldist", **program.context_settings))


def panels() -> Iterator[Panel]:
    """All commands, in the order of `modeldist --help`."""
    above = click.Context(program, info_name="modeldist", **program.context_settings)
    assert isinstance(program, Commands)
    for title, names in program.panels().items():
        yield Panel(title, tuple(_below(program, above, names)))


def _below(group: click.Group, above: click.Context, names: tuple[str, ...] | list[str]) -> Iterator[Command]:
    for name in names:
        command = group.get_command(above, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=above, **command.context_settings)
        below = ()
        if isinstance(command, click.Group):
            below = tuple(_below(command, context, command.list_commands(context)))
        yield _command(command, context, below)


def _command(command: click.Command, context: click.Context, below: tuple[Command, ...] = ()) -> Command:
    records = (option.get_help_record(context) for option in command.get_params(context))
    return Command(
        name=context.command_path,
        usage=" ".join((context.command_path, *command.collect_usage_pieces(context))),
        paragraphs=tuple(_paragraphs(command.help or "")),
        options=tuple(Option(*record) for record in records if record and record[1]),
        below=below,
    )


def _paragraphs(help_text: str) -> Iterator[Paragraph]:
    """As click reads them: `\\b` on a line of its own keeps the lines that follow, up to an empty one."""
    for block in inspect.cleandoc(help_text).split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].strip() == "\b":
            yield Paragraph("\n".join(lines[1:]), verbatim=True)
        elif lines:
            yield Paragraph(" ".join(line.strip() for line in lines))
