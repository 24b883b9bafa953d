"""Any reference can name a file, and no two share one."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from modeldist.agent.store.places import file_name

REFERENCES = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


@given(REFERENCES)
@example("..")
@example(".")
@example("")
@example("é" * 300)
def test_name_is_one_plain_file(reference: str) -> None:
    name = file_name(reference)
    assert 0 < len(name.encode()) <= 255
    assert "/" not in name
    assert "\0" not in name
    assert name not in (".", "..")


@given(REFERENCES, REFERENCES)
@example("a" * 250, "a" * 251)
@example("", "%")
@example(".", "%.")
def test_different_references_have_different_names(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)


def test_short_names_are_readable() -> None:
    assert file_name("org/model:main") == "org%2Fmodel%3Amain"
