"""What a check found."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """`check` is its stable name, `found` a sentence, `remedy` what to do, empty where nothing is. `value`: what was
    measured, in bytes, bytes/s, seconds or as the name says; None where that is no number."""

    check: str
    state: State
    found: str
    remedy: str = ""
    value: float | None = None


def ok(check: str, found: str, value: float | None = None) -> Finding:
    return Finding(check, "ok", found, value=value)


def warn(check: str, found: str, remedy: str, value: float | None = None) -> Finding:
    """It works, and not as well as it could, or not where somebody needs it."""
    return Finding(check, "warn", found, remedy, value)


def fail(check: str, found: str, remedy: str, value: float | None = None) -> Finding:
    """Without it this node cannot do its work."""
    return Finding(check, "fail", found, remedy, value)
