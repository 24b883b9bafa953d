"""Pages of a listing: `limit` and an opaque `cursor`, the same for every resource."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from modeldist.control.api.examples import PULL

T = TypeVar("T")

NO_NUL = r"^[^\x00]*$"  # which no database stores
Limit = Annotated[int, Query(ge=1, le=500, description="Rows of one page.", examples=[100])]
Cursor = Annotated[
    str | None,
    Query(
        max_length=256,
        min_length=1,
        pattern=NO_NUL,
        description="`next` of the page before; none for the first page.",
        examples=[PULL],
    ),
]
Number = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9]{1,18}$",
        description="`next` of the page before; none for the first page.",
        examples=["100"],
    ),
]
"""A cursor of what has no names in order."""
DEFAULT_LIMIT = 100


def split(rows: Sequence[T], limit: int) -> tuple[Sequence[T], T | None]:
    """Of `limit + 1` rows asked for: those of this page, and its last one when more follow."""
    page = rows[:limit]
    return page, page[-1] if len(rows) > limit else None


def behind(rows: Sequence[T], cursor: str | None, limit: int, name: Callable[[T], str]) -> tuple[Sequence[T], T | None]:
    """As `split`, of all rows, which are in the order of their names: the page behind the one that `cursor` names."""
    start = bisect_right(rows, cursor, key=name) if cursor is not None else 0
    return split(rows[start : start + limit + 1], limit)


def numbered(rows: Sequence[T], cursor: str | None, limit: int) -> tuple[Sequence[T], str | None]:
    """Of all rows the page that begins at the number `cursor` (a `Number`), and the number of the next one."""
    start = int(cursor) if cursor is not None else 0
    page, last = split(rows[start : start + limit + 1], limit)
    return page, None if last is None else str(start + limit)
