"""References: what users type, and what is said of what cannot be one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import InvalidReference
from modelpack.reference import Reference

SHA = "sha256:" + "a" * 64

component = st.from_regex(r"\A[a-z0-9]+(?:(?:\.|_|__|-{1,3})[a-z0-9]+){0,2}\Z")
label = st.from_regex(r"\A[A-Za-z0-9](?:[A-Za-z0-9-]{0,10}[A-Za-z0-9])?\Z")
registries = st.one_of(
    st.tuples(label, label).map(".".join),
    st.tuples(label, st.integers(0, 65535)).map(lambda parts: f"{parts[0]}:{parts[1]}"),
    st.just("localhost"),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]:5000"),
    st.ip_addresses(v=4).map(str),
)
tags = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}\Z")
digests = st.from_regex(r"\A(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")


@given(registries, st.lists(component, min_size=1, max_size=4), st.none() | tags, st.none() | digests)
def test_what_is_written_is_read_again(registry, components, tag, digest):
    written = Reference(registry, "/".join(components), tag, digest)
    assert Reference.parse(str(written)) == written
    assert str(Reference.parse(str(written), default_registry="other.example")) == str(written)


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_a_clear_error(text):
    try:
        reference = Reference.parse(text)
    except InvalidReference as error:
        assert "is not a valid reference" in error.message
        assert error.remedy
    else:
        assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("gpt2", "docker.io", "library/gpt2", None, None),
        ("org/model:1.0", "docker.io", "org/model", "1.0", None),
        ("index.docker.io/gpt2", "docker.io", "library/gpt2", None, None),
        ("localhost/m", "localhost", "m", None, None),
        ("reg.example:5000/a/b/c:t", "reg.example:5000", "a/b/c", "t", None),
        ("reg:5000/m", "reg:5000", "m", None, None),
        ("[::1]:5000/a/m:t", "[::1]:5000", "a/m", "t", None),
        ("[fe80::1]/a/m", "[fe80::1]", "a/m", None, None),
        ("Upper/m", "Upper", "m", None, None),
        (f"org/model:v1@{SHA}", "docker.io", "org/model", "v1", SHA),
        ("a/b@sha512:" + "0" * 128, "docker.io", "a/b", None, "sha512:" + "0" * 128),
    ],
)
def test_parts(text, registry, repository, tag, digest):
    assert Reference.parse(text) == Reference(registry, repository, tag, digest)


def test_the_default_registry_is_the_callers():
    reference = Reference.parse("model:1", default_registry="reg.example:5000")
    assert str(reference) == "reg.example:5000/model:1"
    assert reference.name == "reg.example:5000/model"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("a b", "white space"),
        ("a\x00b", "white space or control"),
        ("https://reg.example/a", "scheme"),
        ("a:", "the tag after the colon is empty"),
        ("a:-x", "is not a tag"),
        ("a:" + "t" * 129, "129 characters"),
        ("a@", "is not a digest"),
        ("a@" + "a" * 64, "no algorithm"),
        ("a@md5:" + "a" * 32, "neither sha256 nor sha512"),
        ("a@sha256:" + "A" * 64, "64 lowercase hexadecimal"),
        ("a@sha256:" + "a" * 63, "64 lowercase hexadecimal"),
        ("org/Model", "capital letters"),
        ("org//model", "empty part"),
        ("org/mo..del", "is not a part of a repository"),
        ("org/model/", "empty part"),
        ("reg.example/", "names no repository"),
        ("reg.example:70000/m", "not a port"),
        ("reg.example:x/m", "not a port"),
        ("[::1]x/m", "not a port"),
        ("-a.example/m", "host name"),
        ("a" * 254 + ".b/m", "host name"),
        ("[::1/m", "IPv6"),
        ("[nonsense]/m", "IPv6"),
        ("[fe80::1%eth0]/m", "IPv6"),
        ("a/" + "b" * 255, "at most 255"),
        ("a" * 64, "only a digest"),
    ],
)
def test_errors_name_what_is_wrong(text, says):
    with pytest.raises(InvalidReference, match=re.escape(says)):
        Reference.parse(text)


def test_pinning_and_retagging():
    reference = Reference.parse("org/model:v1")
    pinned = reference.with_digest(SHA)
    assert str(pinned) == f"docker.io/org/model:v1@{SHA}"
    assert (reference.version, pinned.version, Reference.parse("m").version) == ("v1", SHA, "latest")
    assert pinned.with_tag("v2") == Reference("docker.io", "org/model", "v2")
    with pytest.raises(InvalidReference, match="not a digest"):
        reference.with_digest("sha256:x")
    with pytest.raises(InvalidReference, match="not a tag"):
        reference.with_tag("/")


def test_an_error_reads_as_message_and_remedy():
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("a:")
    assert str(caught.value) == f"{caught.value.message} {caught.value.remedy}"
