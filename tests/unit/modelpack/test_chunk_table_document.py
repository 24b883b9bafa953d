"""The proposals' examples and figures are what the library does."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from modelpack.chunk_index import ALGORITHM, CHUNK_INDEX_TYPE, SEGMENT
from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION, CHUNK_TABLE_TYPE, MAX_CHUNK, MIN_CHUNK

DOCS = Path(__file__).parents[3] / "docs"
FACTS = {
    "chunk-table.md": (CHUNK_TABLE_TYPE, CHUNK_TABLE_ANNOTATION, f"{MIN_CHUNK:,}", f"{MAX_CHUNK:,}"),
    "chunk-index.md": (CHUNK_INDEX_TYPE, ALGORITHM, f"{SEGMENT:,}"),
}


@pytest.mark.parametrize(("page", "examples"), [("chunk-table.md", 10), ("chunk-index.md", 5)])
def test_the_proposal_is_true(page: str, examples: int) -> None:
    found = doctest.testfile(str(DOCS / page), module_relative=False)
    assert found.attempted > examples
    assert found.failed == 0


@pytest.mark.parametrize("page", FACTS)
def test_the_proposal_has_the_names_and_limits_of_the_code(page: str) -> None:
    text = (DOCS / page).read_text()
    for fact in FACTS[page]:
        assert fact in text
