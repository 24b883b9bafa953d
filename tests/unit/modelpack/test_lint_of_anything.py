"""Lint of a model in which anything stands in place of anything: it answers with findings, never with an exception."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.lint import lint_layout, sarif
from tests.servers.artifacts import Document, Written, config_of, manifest_of, packed, raw, sha256, tar, written
from tests.unit.modelpack.lint_cases import CLEAN, index

LAYERS = (*CLEAN, index({"a": "model.safetensors"}), packed("docs", tar({"a.md": b"a"}), "doc", "tar+gzip"))
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["", ".", "..", "/", "a\0", "sha256:", "2025-13-01T00:00:00Z", "https://[", "7b", "MIT OR"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every member, from the outermost on."""
    members = document.items() if isinstance(document, dict) else enumerate(document)
    for key, member in members:
        yield (*path, key)
        if isinstance(member, dict | list):
            yield from places(member, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = value if len(path) == 1 else replaced(copy[path[0]], path[1:], value)
    return copy


def look(model: Written) -> None:
    with tempfile.TemporaryDirectory() as room:
        reports = lint_layout(model.into_layout(Path(room, "layout")), "anything", digests=True)
    json.dumps([report.to_dict() for report in reports])
    sarif.encode(reports, tool="tests", version="1")


def stored(config: bytes) -> dict[str, bytes]:
    return {sha256(config): config, **{sha256(layer.data): layer.data for layer in LAYERS}}


CONFIG = config_of(LAYERS, config={"paramSize": "6", "precision": "float32", "capabilities": {"languages": ["en"]}})
MANIFEST = manifest_of(LAYERS, json.dumps(CONFIG).encode(), annotations={"org.modeldist.chunk-table": "x"})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(places(MANIFEST), key=str)), VALUES)
def test_in_the_manifest(place, value):
    document = json.dumps(replaced(MANIFEST, place, value)).encode()
    look(Written("anything", (Document(document),), stored(json.dumps(CONFIG).encode())))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(places(CONFIG), key=str)), VALUES)
def test_in_the_config(place, value):
    config = json.dumps(replaced(CONFIG, place, value)).encode()
    manifest = json.dumps(manifest_of(LAYERS, config)).encode()
    look(Written("anything", (Document(manifest),), stored(config)))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["metadata", "weight_map", "x"]), VALUES, max_size=3))
def test_in_an_index_of_tensors(document):
    broken = raw("model.safetensors.index.json", json.dumps(document).encode(), "weight.config")
    look(written("anything", [*CLEAN, broken]))
