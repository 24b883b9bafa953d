"""References: what is read is written as a text that means the same."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from modelpack.digests import digest_problem
from modelpack.reference import Reference
from tests.fuzz.target import Target
from tests.refusals import value_of


def seeds() -> Iterator[bytes]:
    digest = "sha256:" + "a" * 64
    for text in (
        "gpt2",
        "org/model:1.0",
        "registry.example:5000/a/b-c/d__e.f:t",
        f"[::1]:5000/a/m:t@{digest}",
        f"localhost/m@{digest}",
        "a/b@sha512:" + "0" * 128,
        "Upper/m",
        "https://a.example/b",
        "a\u202e:\x1b",
    ):
        yield text.encode()


def check(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for default in ("docker.io", "registry.example:5000"):
        found = value_of(partial(Reference.parse, text, default), naming="is not a valid reference")
        if found is None:
            continue
        assert str(found).isprintable() and not any(character.isspace() for character in str(found))
        assert Reference.parse(str(found), "other.example") == found
        assert found.repository and found.registry and len(found.repository) <= 255
        assert found.digest is None or not digest_problem(found.digest)
        assert not any(part in ("", ".", "..") for part in found.repository.split("/"))


WORDS = (
    b":",
    b"@",
    b"/",
    b"[",
    b"]",
    b".",
    b"..",
    b"__",
    b"-",
    b"sha256:",
    b"sha512:",
    b"localhost",
    b":65535",
    b"::1",
)
TARGET = Target("reference", check, seeds, WORDS, longest=600)
