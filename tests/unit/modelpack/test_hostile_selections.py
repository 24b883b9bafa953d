"""Selections, ranks, patterns and chunk tables from anywhere, against slow models and their own text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.chunk_table import CHUNK_TABLE_TYPE
from modelpack.errors import InvalidSelection
from modelpack.globs import Glob
from modelpack.plan.selection import Selection
from tests.fuzz.targets import chunk_table, selection
from tests.refusals import value_of

letters = st.sampled_from("ab-]^!+/")
classes = st.tuples(st.booleans(), st.text(st.sampled_from("abcz"), min_size=1, max_size=4))
pieces = st.sampled_from(["*", "**", "?", "a", "b", "/", "\\*", "\\", "{", "}", ",", "[", "]", "-", "ü", "\ud800"])
values = st.lists(pieces, max_size=8).map("".join)


@given(values, st.text(st.sampled_from("ab*/{,"), max_size=8))
def test_any_pattern(pattern, name):
    selection.check(f"only={pattern}\n{name}".encode(errors="surrogatepass"))
    made = value_of(lambda: Selection.of(only=[pattern], tensors=[pattern]))
    assert made is None or Selection.parse(str(made)) == made


@given(st.tuples(letters, letters, letters, letters), letters)
def test_classes_of_patterns(signs, letter):
    """What a class may hold, one by one and as a range, beside what it matches."""
    first, last, one, other = signs
    single = {one, other} - {"-", "]", "^", "!"}
    body = f"{first}-{last}" if first not in "]^!" and last != "]" else "a-b"
    low, high = body[0], body[2]
    pattern = f"[{body}{''.join(sorted(single))}]"
    glob = value_of(lambda: Glob(pattern))
    if low > high or "/" in pattern:
        return  # backwards, or no class of one part
    assert glob is not None
    assert glob.matches(letter) == (letter != "/" and (low <= letter <= high or letter in single))
    negated = Glob(f"[!{body}{''.join(sorted(single))}]")
    assert negated.matches(letter) == (letter != "/" and not glob.matches(letter))


@pytest.mark.parametrize("pattern", ["[z-a]", "[+-!]"])
def test_ranges_that_are_backwards(pattern):
    with pytest.raises(InvalidSelection, match="backwards"):
        Glob(pattern)


def test_half_a_character_in_a_pattern():
    with pytest.raises(InvalidSelection, match="half a character"):
        Selection.of(only=["\udcff*"])


keys = st.sampled_from(["only", "exclude", "kind", "tensor", "rank", "weights", "other", ""])
ranks = st.sampled_from(["tp=0/4", "pp=1/2", "ep=3/8", "tp=4/4", "tp=0/0", "tp=99999999999/1", "tp=0/1", "x", "", ","])
parts = st.tuples(keys, values | ranks | st.sampled_from(["weight", "sharded", "all", "%00", "%"])).map("=".join)


@given(st.lists(parts, max_size=4).map("&".join))
def test_any_selection(text):
    selection.check(text.encode(errors="surrogatepass"))


numbers = st.sampled_from([0, 1, 65_536, 65_537, 2**26, 2**27, 2**63, -1, True, 1.5, None])
blobs = st.fixed_dictionaries(
    {},
    optional={
        "digest": st.sampled_from(["sha256:" + "0" * 64, "sha512:" + "1" * 128, "sha256:0", 7]),
        "size": numbers,
        "chunkSize": numbers,
        "chunks": st.sampled_from(["", "A" * 43 + "=", "A" * 42 + "B=", "A" * 44, "é", "A", "!", 7]),
    },
)


@given(st.lists(blobs | st.none(), max_size=3), st.sampled_from([1, True, 2, 1.0]))
def test_any_chunk_table(listed, version):
    document = {"schemaVersion": version, "mediaType": CHUNK_TABLE_TYPE, "algorithm": "blake3", "blobs": listed}
    chunk_table.check(json.dumps(document).encode())
