"""Options of the form key=value."""

from __future__ import annotations

from collections.abc import Iterable

from modeldist.errors import UsageError


def key_values(texts: Iterable[str], option: str) -> dict[str, str]:
    """`["gpu=h100", "zone=a"]` as a dict. Raises UsageError naming the option."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"{option} {text!r} is not key=value.", remedy=f"Write {option} gpu=h100, for example.")
        found[key] = value
    return found
