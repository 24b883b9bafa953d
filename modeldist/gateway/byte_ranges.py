"""Range headers of one range of bytes (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ONE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Unsatisfiable(Exception):
    """None of the bytes that were asked for exist."""


def asked(headers: Mapping[str, str], etag: str) -> str | None:
    """The Range header of a request for what `etag` (with its quotes) names now; None where there is none, and where it
    is wanted of something else alone (If-Range): a program that goes on with a file would put two together."""
    return headers.get("range") if headers.get("if-range", etag).strip() == etag else None


def wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open range of a shard of `size` bytes; None: all of it, as also for what is no single range, which a
    server may ignore. Raises Unsatisfiable."""
    found = _ONE.fullmatch(header.strip()) if header else None
    if found is None or (not found[1] and not found[2]):
        return None
    if not found[1]:
        last = min(int(found[2]), size)
        if last == 0:
            raise Unsatisfiable
        return size - last, size
    start, stop = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if found[2] and int(found[2]) < start:
        return None  # no range at all
    if start >= size:
        raise Unsatisfiable
    return start, stop
