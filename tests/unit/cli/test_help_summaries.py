"""What a command is for, in a terminal of 80 columns: whole sentences."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from modeldist.cli.main import program


def groups() -> Iterator[tuple[str, ...]]:
    yield ()
    context = click.Context(program)
    for name in program.list_commands(context):
        if isinstance(program.get_command(context, name), click.Group):
            yield (name,)


@pytest.mark.parametrize("path", list(groups()), ids=" ".join)
def test_no_summary_is_cut(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(program, [*path, "--help"], terminal_width=80).stdout
    assert "Commands:" in shown or not path
    assert [line for line in shown.splitlines()[1:] if line.endswith(("...", "…"))] == []
