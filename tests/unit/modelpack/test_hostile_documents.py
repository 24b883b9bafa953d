"""Manifests, configs and artifacts from strangers: any document is read in order or refused in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack import mediatypes
from modelpack.config import parse_config
from modelpack.deviations import Deviations
from modelpack.document import MAX_DEPTH, read_object
from modelpack.errors import InvalidConfig, InvalidManifest, ModelPackError
from modelpack.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from modelpack.quoting import MAX_SHOWN, printable
from tests.fuzz.targets import artifact, config, manifest
from tests.refusals import LONGEST, check_sentence, value_of

texts = st.text(max_size=8)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
digests = st.sampled_from(["sha256:" + digit * 64 for digit in "01"] + ["sha512:" + "2" * 128, "sha256:0", "md5:0", ""])
types = st.sampled_from(
    [
        *sorted(mediatypes.MANIFESTS | mediatypes.INDEXES),
        *(mediatypes.layer_type("weight"), mediatypes.layer_type("doc", "tar+gzip"), mediatypes.CNCF_CONFIG),
        *(mediatypes.CNAI_CONFIG, mediatypes.KITOPS_CONFIG, mediatypes.OCI_EMPTY, "", "text/plain"),
        *("application/vnd.docker.ai.model.config.v0.2+json", "application/vnd.ollama.image.model"),
    ]
)
names = st.sampled_from(["a", "b/c", "../x", "/x", "x\0", "a\u202eb", "A"])
annotations = st.dictionaries(
    st.sampled_from([mediatypes.FILEPATH, mediatypes.TITLE, mediatypes.FILE_METADATA, "x"]),
    names | st.just('{"name":"m","size":7}') | st.just("{") | texts,
    max_size=3,
)


def some(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with most of these members, and now and then one of another kind."""
    whole = st.fixed_dictionaries({}, optional=members)
    return (
        whole
        | st.fixed_dictionaries(members)
        | st.tuples(whole, st.dictionaries(st.sampled_from([*members]), anything, max_size=1)).map(
            lambda parts: parts[0] | parts[1]
        )
    )


descriptors = some(
    mediaType=types,
    digest=digests,
    size=st.sampled_from([0, 7, -1, 2**63, 2**70]),
    annotations=annotations,
    artifactType=types,
    platform=some(os=texts, architecture=texts),
)
manifests = some(
    schemaVersion=st.just(2),
    mediaType=types,
    artifactType=types | st.just(mediatypes.CNCF_ARTIFACT),
    config=descriptors,
    layers=st.lists(descriptors, max_size=3),
    subject=descriptors,
    annotations=annotations,
)
indexes = some(schemaVersion=st.just(2), mediaType=types, manifests=st.lists(descriptors, max_size=3))
configs = some(
    descriptor=some(createdAt=texts | st.just("2025-01-01T00:00:00Z"), authors=st.lists(texts), name=texts),
    config=some(
        paramSize=texts,
        parameterSize=st.integers(),
        puantization=texts,
        capabilities=some(
            inputTypes=st.lists(st.sampled_from(["text", "x"])), languages=st.lists(texts), tool_usage=st.booleans()
        ),
    ),
    modelfs=some(type=st.just("layers"), diffIds=st.lists(digests, max_size=3), diff_ids=st.lists(digests)),
)


@given(manifests | indexes | anything)
def test_any_manifest(document):
    manifest.check(json.dumps(document).encode())


@given(configs | anything)
def test_any_config(document):
    config.check(json.dumps(document).encode())


@given(manifests, configs | st.just({}))
def test_any_artifact(document, model_config):
    artifact.check(json.dumps(document).encode() + b"\0" + json.dumps(model_config).encode())


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), plain), min_size=2, max_size=4), st.integers(0, 3))
def test_a_key_twice_at_any_depth(members, depth):
    inner = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in members) + "}"
    raw = '{"x":[' * depth + inner + "]}" * depth
    found = value_of(lambda: read_object(raw.encode(), limit=4096, what="paper", error=InvalidConfig), naming="paper")
    assert (found is None) == (len({key for key, _ in members}) < len(members))


@pytest.mark.parametrize("opened", ['{"a":', '{"a":[', "["])
@pytest.mark.parametrize("depth", [MAX_DEPTH // 2, MAX_DEPTH + 1, 1000, 100_000])
def test_nesting(opened, depth):
    closed = "".join({"{": "}", "[": "]"}[sign] for sign in reversed(opened) if sign in "{[")
    raw = f'{{"a":{opened * depth}1{closed * depth}}}'.encode()
    found = value_of(lambda: read_object(raw, limit=len(raw), what="paper", error=InvalidConfig), naming="paper")
    assert found is None or depth * len(closed) < MAX_DEPTH


def test_size_is_asked_before_anything_is_read():
    with pytest.raises(InvalidManifest, match=f"has {MAX_MANIFEST_BYTES + 1} bytes"):
        parse_manifest(b"\xff" * (MAX_MANIFEST_BYTES + 1))
    largest = b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:%s","size":1}}' % (b"0" * 64)
    assert isinstance(parse_manifest(largest.ljust(MAX_MANIFEST_BYTES)), Manifest)


@pytest.mark.parametrize("raw", [b'{"a":[' + b"[]," * 3_000_001 + b"1]}", b'{"a":[' + b"1," * 10_000_001 + b"1]}"])
def test_documents_that_would_take_many_times_their_size(raw):
    """Refused before anything is made of them."""
    with pytest.raises(InvalidConfig, match="more than 3000000 objects and lists, or 10000000 members"):
        read_object(raw, limit=len(raw), what="paper", error=InvalidConfig)


@pytest.mark.parametrize("kind", ["[]", "{}", "7", "null", "true"])
def test_a_media_type_that_is_no_text(kind):
    value_of(
        lambda: parse_manifest(b'{"schemaVersion":2,"mediaType":%s,"layers":[]}' % kind.encode()), naming="manifest"
    )


@given(st.text(max_size=50), st.integers(0, 3000))
def test_sentences_can_be_shown(text, times):
    error = ModelPackError(f"The file {text * times} is odd.", remedy=text)
    check_sentence(error.message, naming="The file ")
    assert error.message.endswith("is odd.")
    assert len(error.remedy) <= LONGEST and error.remedy.isprintable()
    deviations = Deviations("lenient")
    deviations.error("odd", f"{text}\x1b[2J.", InvalidConfig)
    check_sentence(deviations.found()[0].message, naming="\\x1b[2J.")


def test_what_prints_is_shown_as_it_is():
    sentence = "Das Modell „größer“ ist 日本語 📦."
    assert printable(sentence) == sentence
    assert printable("a" * (MAX_SHOWN + 1)).count("a") == MAX_SHOWN
    assert printable("\x1b[31m\u202e\ud800\n") == "\\x1b[31m\\u202e\\ud800\\n"


def test_the_keys_of_a_config_obey_nobody():
    with pytest.raises(InvalidConfig, match=r"descriptor\.\\x1b\[31m is not valid"):
        parse_config(b'{"descriptor":{"\\u001b[31m":1}}', strict=True)
