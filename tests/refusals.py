"""What every parser of `modelpack` promises for input from strangers: a value, or a refusal that can be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from modelpack.deviations import Deviation
from modelpack.errors import ModelPackError

T = TypeVar("T")
LONGEST = 2100  # characters of a sentence


def value_of(read: Callable[[], T], *, naming: str = "") -> T | None:
    """What `read` gives, or None for a refusal in order; any other exception passes. `naming` is what a refusal must
    say."""
    try:
        return read()
    except ModelPackError as error:
        assert type(error) is not ModelPackError
        check_sentence(error.message, naming=naming)
        check_sentence(error.remedy or ".")
        assert str(error).startswith(error.message)
        return None


def check_sentence(text: str, *, naming: str = "") -> None:
    """It says something, fits on a screen, and a terminal obeys none of it."""
    assert text.strip()
    assert len(text) <= LONGEST, f"{len(text)} characters: {text[:200]!r}"
    assert text.isprintable(), repr(text[:400])
    assert naming in text, text[:400]


def check_deviations(deviations: tuple[Deviation, ...]) -> None:
    for deviation in deviations:
        check_sentence(deviation.message)
        assert deviation.code.replace("-", "").isalnum()
