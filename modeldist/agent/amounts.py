"""Sizes and durations as people write them."""

from __future__ import annotations

import math
import re

from modeldist.errors import UsageError

_BINARY = {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_SIZES = {"": 1, "B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_DURATIONS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Bytes of `500GB`, `1.5TiB`, `123`. Raises UsageError."""
    if found := _NUMBER.fullmatch(text.strip()):
        number, unit = float(found[1]), found[2].upper()
        step = _BINARY.get(unit) or _SIZES.get(unit.removesuffix("B") if unit != "B" else unit)
        if step and math.isfinite(number * step):
            return int(number * step)
    raise UsageError(f"{text!r} is not a size.", remedy="Write it like 500GB, 1.5TiB or a number of bytes.")


def parse_duration(text: str) -> float:
    """Seconds of `30d`, `12h`, `90`. Raises UsageError."""
    if (found := _NUMBER.fullmatch(text.strip())) and found[2].lower() in _DURATIONS:
        seconds = float(found[1]) * _DURATIONS[found[2].lower()]
        if math.isfinite(seconds):
            return seconds
    raise UsageError(f"{text!r} is not a duration.", remedy="Write it like 30d, 12h, 45m or a number of seconds.")
