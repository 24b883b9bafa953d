"""Snapshot names: valid for huggingface_hub, and never one for two repositories."""

from __future__ import annotations

import pytest
from huggingface_hub.utils import validate_repo_id
from hypothesis import assume, given
from hypothesis import strategies as st

from modeldist.origins.repo_ids import MAX_REPO_ID, of_place, of_repository, repositories
from modelpack.errors import InvalidReference
from modelpack.reference import Reference

COMPONENT = st.from_regex(r"[a-z0-9]{1,4}(?:(?:\.|_|__|-|--)[a-z0-9]{1,3}){0,2}", fullmatch=True)
REGISTRY = st.from_regex(r"[a-z0-9]{1,3}(?:[.-][a-z0-9]{1,3}){0,3}(?::[0-9]{1,4})?", fullmatch=True)
REPOSITORY = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("registry", "repository", "repo_id"),
    [
        ("registry.example", "org/model", "registry.example.org/model"),
        ("127.0.0.1:5000", "org/model", "127.0.0.1-5000.org/model"),
        ("docker.io", "ai/gemma3", "docker.io.ai/gemma3"),
        ("registry.example", "or_g/m.o-del_1", "registry.example.or_g/m.o-del_1"),
    ],
)
def test_ordinary_names_stay_readable(registry: str, repository: str, repo_id: str) -> None:
    assert of_repository(registry, repository) == repo_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("r.io", "a/b/m"), ("r.io", "a.b/m")),
        (("r.io", "a.b/m"), ("r.io.a", "b/m")),
        (("r.io", "a/m"), ("r.io.a", "m")),
        (("r:5000", "a/m"), ("r-5000", "a/m")),
        (("r.io", "a/m--x"), ("r.io", "a/m-x")),
        (("r.io", "a/" + "m" * 200), ("r.io", "a/" + "m" * 201)),
        (("[::1]:5000", "a/m"), ("[::2]:5000", "a/m")),
    ],
)
def test_look_alikes_are_told_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert of_repository(*one) != of_repository(*other)


@pytest.mark.parametrize(
    ("registry", "repository"),
    [
        ("registry.example", "org/model"),
        ("registry.example", "org/model-0123abcd"),
        ("registry.example", "model"),
        ("registry.example", "org/team/model"),
        ("registry.example", "org/a.b/c/model"),
        ("registry.example", "a.b/model"),
        ("127.0.0.1:5000", "org/team/sub/model"),
        ("r-5000", "org/model"),
        ("docker.io", "ai/gemma3"),
    ],
)
def test_names_are_read_back(registry: str, repository: str) -> None:
    assert list(repositories(of_repository(registry, repository))) == [(registry, repository)]


@pytest.mark.parametrize(
    "repo_id", ["org/model", "gpt2", "org/model-0123abcd", "a.b/c--d", "a.b.c.d.e.f.g.h.i/m-0123abcd"]
)
def test_names_of_the_hub_are_no_repositories_names(repo_id: str) -> None:
    assert list(repositories(repo_id)) == []


@given(REGISTRY, REPOSITORY, REGISTRY, REPOSITORY)
def test_distinct_repositories_get_distinct_valid_names(r1: str, p1: str, r2: str, p2: str) -> None:
    assume((r1, p1) != (r2, p2))
    one, other = of_repository(r1, p1), of_repository(r2, p2)
    assert one != other
    for repo_id in (one, other):
        validate_repo_id(repo_id)
        assert len(repo_id) <= MAX_REPO_ID


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=20))
def test_any_place_has_a_valid_name(namespace: str, name: str, identity: str) -> None:
    repo_id = of_place(namespace, name, identity.encode("utf-8", "replace").decode())
    validate_repo_id(repo_id)
    assert len(repo_id) <= MAX_REPO_ID and repo_id.count("/") == 1


@given(st.text(alphabet="abz019._-/:[]", max_size=60))
def test_whatever_parses_as_a_reference_has_a_valid_name(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    validate_repo_id(of_repository(reference.registry.lower(), reference.repository))
