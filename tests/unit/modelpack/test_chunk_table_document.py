"""The proposals' examples and figures are what the library does."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from modelpack.chunk_index import ALGORITHM, CHUNK_INDEX_TYPE, SEGMENT
from modelpack.chunk_table import (
    CHUNK_TABLE_ANNOTATION,
    CHUNK_TABLE_TYPE,
    MAX_CHUNK,
    MIN_CHUNK,
    BlobChunks,
    ChunkTable,
    chunk_digests,
    encode_table,
    parse_table,
)
from modelpack.digests import sha256_digest
from tests.documentation import page

DOCS = Path(__file__).parents[3] / "docs"
FACTS = {
    "chunk-table.md": (CHUNK_TABLE_TYPE, CHUNK_TABLE_ANNOTATION, f"{MIN_CHUNK:,}", f"{MAX_CHUNK:,}"),
    "chunk-index.md": (CHUNK_INDEX_TYPE, ALGORITHM, f"{SEGMENT:,}"),
}


@pytest.mark.parametrize(("name", "examples"), [("chunk-table.md", 10), ("chunk-index.md", 5)])
def test_the_proposal_is_true(name: str, examples: int) -> None:
    found = doctest.testfile(str(DOCS / name), module_relative=False)
    assert found.attempted > examples
    assert found.failed == 0


def test_the_table_that_is_shown() -> None:
    (block,) = (each for each in page.blocks((DOCS / "chunk-table.md").read_text()) if each.language == "json")
    shown = block.text.replace("\n", "").encode()
    layer = bytes(range(256)) * 4096
    blob = BlobChunks(sha256_digest(layer), len(layer), len(layer), chunk_digests(layer, len(layer)))
    assert parse_table(shown) == ChunkTable((blob,))
    assert encode_table(ChunkTable((blob,))) == shown


@pytest.mark.parametrize("name", FACTS)
def test_the_proposal_has_the_names_and_limits_of_the_code(name: str) -> None:
    text = (DOCS / name).read_text()
    for fact in FACTS[name]:
        assert fact in text
