"""Pages of a listing: `limit` and an opaque `cursor`, the same for every resource."""

from __future__ import annotations

from collections.abc import Sequence
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
