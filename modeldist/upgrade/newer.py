"""Which of two versions is the newer one. The launcher asks too, so nothing that is wrong here may keep it from running
what it ran."""

from __future__ import annotations


def newer(one: str, other: str) -> bool:
    """Whether `one` is newer than `other`; False where that cannot be told."""
    try:
        from packaging.version import Version

        return Version(one) > Version(other)
    except (ImportError, ValueError):  # InvalidVersion is one
        return False
