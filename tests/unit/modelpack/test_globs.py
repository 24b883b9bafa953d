"""Patterns as doublestar reads them."""

from __future__ import annotations

import time

import pytest

from modelpack.errors import InvalidSelection
from modelpack.globs import Glob

CASES = [
    ("*.json", "config.json", True),
    ("*.json", "sub/config.json", False),
    ("**/*.json", "config.json", True),
    ("**/*.json", "a/b/config.json", True),
    ("onnx/**", "onnx/a/b.onnx", True),
    ("onnx/**", "onnx", True),
    ("onnx/**", "onnxruntime/a", False),
    ("**", "a/b", True),
    ("**/**", "a/b", True),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a/**/b", "ab", False),
    ("a**", "a/b", False),
    ("?.txt", "a.txt", True),
    ("?.txt", "/.txt", False),
    ("[a-c].txt", "b.txt", True),
    ("[^a-c].txt", "b.txt", False),
    ("[!a-c].txt", "d.txt", True),
    ("[]x]", "]", True),
    ("*.{json,model}", "tokenizer.model", True),
    ("*.{json,model}", "tokenizer.txt", False),
    ("{a,b/{c,d}}/x", "b/d/x", True),
    ("{a,}b", "b", True),
    (r"\*.txt", "*.txt", True),
    (r"\*.txt", "a.txt", False),
    (r"\{a\}", "{a}", True),
    ("model.layers.0.*", "model.layers.0.mlp.weight", True),
    ("model.layers.0.*", "model.layers.01", False),
    ("*a*b", "xaxbxb", True),
    ("*a*b", "xbxa", False),
    ("[.]x", ".x", True),
    ("[a&&b]", "&", True),
    ("*", "a\nb", True),
]


@pytest.mark.parametrize(("pattern", "name", "matches"), CASES)
def test_a_pattern_matches_as_doublestar_says(pattern: str, name: str, matches: bool) -> None:
    assert Glob(pattern).matches(name) is matches


@pytest.mark.parametrize("pattern", ["", "[a", "{a", "a}", "a\\", "x" * 600, "[z-a]", "{a,b}" * 9, "**/a/**/b/**/c/**"])
def test_what_is_no_pattern_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(InvalidSelection, match="pattern"):
        Glob(pattern)


@pytest.mark.parametrize("pattern", ["*a" * 200 + "b", "**/*a*/**/*a*/**/b", "{*a,*b}" * 7])
def test_no_pattern_takes_long(pattern: str) -> None:
    started = time.process_time()
    assert not Glob(pattern).matches("a" * 500 + "/" + "/".join("a" * 250))
    assert time.process_time() - started < 20  # seconds of CPU; backtracking would take years
