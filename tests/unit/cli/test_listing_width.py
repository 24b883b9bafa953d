"""`modeldist ls` on terminals of any width."""

from __future__ import annotations

import pytest

from modeldist.cli.commands.ls import fitted
from modeldist.cli.terminal import table_lines

TITLES = ("REFERENCE", "SIZE", "FILES", "USED", "", "PATH")
SHORT = ("org/model:v1", "91.6 MB", "12", "just now", "", "/home/somebody/.cache/modeldist/hub/models--org--model")
LONG = (f"https://host/directory/model.safetensors#sha256={'a' * 60}beef", "1 GB", "1", "3 d ago", "pinned", "/x")


def test_everything_where_there_is_room() -> None:
    assert fitted(TITLES, [SHORT], 120) == (TITLES, [SHORT])


def test_without_directories_first() -> None:
    titles, rows = fitted(TITLES, [SHORT], 80)
    assert titles == TITLES[:-1]
    assert rows == [SHORT[:-1]]


@pytest.mark.parametrize("room", [60, 80, 100])
def test_then_without_the_middle_of_long_references(room: int) -> None:
    titles, rows = fitted(TITLES, [SHORT, LONG], room)
    assert max(map(len, table_lines(titles, rows))) <= room
    assert rows[0][0] == "org/model:v1"
    assert rows[1][0].startswith("https://host") and rows[1][0].endswith("beef") and "…" in rows[1][0]


def test_a_reference_keeps_some_columns_however_narrow() -> None:
    _, rows = fitted(TITLES, [LONG], 10)
    assert len(rows[0][0]) == 20
