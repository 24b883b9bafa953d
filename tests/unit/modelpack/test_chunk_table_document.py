"""The proposal's examples and figures are what the library does."""

from __future__ import annotations

import doctest
from pathlib import Path

from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION, CHUNK_TABLE_TYPE, MAX_CHUNK, MIN_CHUNK

DOCUMENT = Path(__file__).parents[3] / "docs" / "chunk-table.md"


def test_the_proposal_is_true() -> None:
    found = doctest.testfile(str(DOCUMENT), module_relative=False)
    assert found.attempted > 10
    assert found.failed == 0


def test_the_proposal_has_the_names_and_limits_of_the_code() -> None:
    text = DOCUMENT.read_text()
    for fact in (CHUNK_TABLE_TYPE, CHUNK_TABLE_ANNOTATION, f"{MIN_CHUNK:,}", f"{MAX_CHUNK:,}"):
        assert fact in text
