"""Model configs: strict follows the schema, lenient reads old versions and says what it left out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.config import (
    Capabilities,
    ModelConfig,
    ModelDescriptor,
    ModelFS,
    TechnicalConfig,
    encode_config,
    parse_config,
)
from modelpack.config_schema import short_count
from modelpack.errors import InvalidConfig
from modelpack.timestamps import is_rfc3339, rfc3339

DIGEST = "sha256:" + "1" * 64
GOOD = {"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diffIds": [DIGEST]}}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
modalities = st.lists(st.sampled_from(["text", "image", "audio", "video", "embedding", "other"])).map(tuple)
flags = st.sampled_from([None, True, False])
configs = st.builds(
    ModelConfig,
    descriptor=st.builds(
        ModelDescriptor,
        created_at=st.integers(0, 2**33).map(rfc3339),
        authors=st.lists(texts, max_size=2).map(tuple),
        name=texts,
        doc_url=texts,
        datasets_url=st.lists(texts, max_size=2).map(tuple),
        licenses=st.lists(texts, max_size=2).map(tuple),
    ),
    config=st.builds(
        TechnicalConfig,
        param_size=st.integers(0, 10**18).map(short_count),
        precision=texts,
        capabilities=st.none()
        | st.builds(
            Capabilities,
            input_types=modalities,
            output_types=modalities,
            reasoning=flags,
            tool_usage=flags,
            languages=st.lists(st.sampled_from(["en", "de"])).map(tuple),
        ),
    ),
    modelfs=st.builds(ModelFS, diff_ids=st.lists(st.just(DIGEST), min_size=1, max_size=3).map(tuple)),
)


@given(configs)
def test_what_is_encoded_is_valid_and_the_same(config):
    raw = encode_config(config)
    parsed = parse_config(raw, strict=True)
    assert parsed.config == config
    assert parsed.deviations == ()
    assert encode_config(parsed.config) == raw


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
MEMBERS = """createdAt name authors licenses datasetsURL paramSize parameterSize puantization capabilities inputTypes
    input_types reasoning languages type diffIds diff_ids other"""
members = st.sampled_from(MEMBERS.split())


@given(
    st.dictionaries(
        st.sampled_from(["descriptor", "config", "modelfs", "other"]),
        json_values | st.dictionaries(members, json_values | st.dictionaries(members, json_values, max_size=3)),
    )
)
def test_lenient_reads_any_object_and_strict_agrees_or_refuses(document):
    raw = json.dumps(document).encode()
    lenient = parse_config(raw, strict=False)
    broken = any(deviation.severity == "error" for deviation in lenient.deviations)
    if broken:
        with pytest.raises(InvalidConfig):
            parse_config(raw, strict=True)
    else:
        assert parse_config(raw, strict=True) == lenient


def test_lenient_drops_what_it_cannot_use_and_says_so():
    document = {
        "descriptor": {"name": "m", "version": 3.1, "authors": ["a", 7]},
        "config": {"capabilities": {"reasoning": "yes", "toolUsage": True}},
        "modelfs": {"type": "layer", "diffIds": ["nonsense", DIGEST]},
        "extra": 1,
    }
    parsed = parse_config(json.dumps(document).encode(), strict=False)
    assert parsed.config.descriptor == ModelDescriptor(name="m")
    assert parsed.config.config.capabilities == Capabilities(tool_usage=True)
    said = " ".join(deviation.message for deviation in parsed.deviations)
    for thing in (
        "extra",
        "descriptor.version",
        "descriptor.authors",
        "capabilities.reasoning",
        "modelfs.type",
        "nonsense",
    ):
        assert thing in said


def test_names_of_older_versions():
    document = {
        "descriptor": {"name": "m"},
        "config": {
            "parameterSize": 7_000_000_000,
            "puantization": "awq",
            "capabilities": {"input_types": ["text"], "tool_usage": True, "knowledge_cutoff": "2024-01-01T00:00:00Z"},
        },
        "modelfs": {"type": "layers", "diff_ids": [DIGEST]},
    }
    raw = json.dumps(document).encode()
    expected = TechnicalConfig(
        param_size="7b",
        quantization="awq",
        capabilities=Capabilities(input_types=("text",), tool_usage=True, knowledge_cutoff="2024-01-01T00:00:00Z"),
    )
    lenient = parse_config(raw, strict=False)
    assert lenient.config.config == expected
    assert lenient.config.modelfs.diff_ids == (DIGEST,)
    assert {deviation.code for deviation in lenient.deviations} == {"old-name"}
    old = parse_config(raw, strict=True, old_version=True)
    assert old.config == lenient.config
    assert {deviation.severity for deviation in old.deviations} == {"note"}
    with pytest.raises(InvalidConfig, match="is called"):
        parse_config(raw, strict=True)


def test_what_prose_asks_and_the_schema_does_not():
    document = {**GOOD, "config": {"paramSize": "many", "capabilities": {"embedding": True}}}
    parsed = parse_config(json.dumps(document).encode(), strict=True)
    assert [deviation.code for deviation in parsed.deviations] == ["capabilities-embedding", "param-size"]
    assert {deviation.severity for deviation in parsed.deviations} == {"warning"}


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b'{"a":1,"a":2}', b'{"a":"\\ud800"}', b"\xff", b" " * (4 * 2**20 + 1)]
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_is_no_object_is_refused_in_both_modes(raw, strict):
    with pytest.raises(InvalidConfig):
        parse_config(raw, strict=strict)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.1k"), (999, "1k"), (22_713_216, "22.7m"), (999_949, "999.9k"), (999_960, "1m"), (8_030_261_248, "8b"),
     (10**12, "1t"), (5 * 10**18, "5000q")],
)  # fmt: skip
def test_short_counts(count, text):
    assert short_count(count) == text


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2025-06-01T10:00:00.123456789+08:00", True),
        ("2016-12-31T23:59:60Z", True),
        ("2025-06-01t10:00:00z", True),
        ("2025-06-01T10:00:61Z", False),
        ("2025-02-30T10:00:00Z", False),
        ("2025-06-01T10:00:00", False),
        ("2025-06-01T10:00:00+24:00", False),
        ("2025-06-01 10:00:00Z", False),
    ],
)
def test_timestamps(text, valid):
    assert is_rfc3339(text) is valid
