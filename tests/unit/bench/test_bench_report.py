"""Sections of the performance page: added once, replaced whole, others left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldist.bench.report import replaced, table, write_section


def test_a_new_section_is_added_at_the_end() -> None:
    page = replaced("# Page\n", "one", "<!-- begin one -->\nfigures\n<!-- end one -->\n")
    assert page == "# Page\n\n<!-- begin one -->\nfigures\n<!-- end one -->\n"


def test_writing_again_replaces_only_that_section(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "performance.md"
    write_section("one", "first", page)
    write_section("two", "second", page)
    before = page.read_text()
    write_section("one", r"third \1", page)
    assert page.read_text() == before.replace("first", r"third \1")


def test_a_section_name_that_could_break_the_marks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not name a section"):
        write_section("one --> two", "text", tmp_path / "page.md")


def test_a_table_has_its_figures_to_the_right() -> None:
    assert table(("", "s"), [("curl", "1.0")]) == "|  | s |\n| --- | ---: |\n| curl | 1.0 |"
