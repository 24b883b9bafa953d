from __future__ import annotations

import pytest

from modeldist.gateway.byte_ranges import Unsatisfiable, asked, wanted
from modeldist.scheduler.pieces import PieceLayout, PieceSet


@pytest.mark.parametrize(
    ("header", "range_"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-", (5, 10)),
        ("bytes=5-99", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        (" bytes=1-2 ", (1, 3)),
        (None, None),
        ("", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=3-2", None),
        ("bytes=1-2,4-5", None),
        ("pieces=1-2", None),
        ("bytes=a-b", None),
        (f"bytes=0-{'9' * 40}", None),
    ],
)
def test_one_range_or_all(header: str | None, range_: tuple[int, int] | None) -> None:
    assert wanted(header, 10) == range_


@pytest.mark.parametrize(
    ("condition", "header"),
    [
        ({}, "bytes=1-"),
        ({"if-range": '"this"'}, "bytes=1-"),
        ({"if-range": '"that"'}, None),
        ({"if-range": 'W/"this"'}, None),
        ({"if-range": "Fri, 27 Nov 2026 12:00:00 GMT"}, None),
    ],
)
def test_a_range_of_something_else_is_none_of_this(condition: dict[str, str], header: str | None) -> None:
    assert asked({"range": "bytes=1-", **condition}, '"this"') == header


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=11-12", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_bytes_that_do_not_exist(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        wanted(header, size)


@pytest.mark.parametrize(
    ("have", "at", "until"),
    [((), 0, 0), ((0,), 0, 4), ((0, 1, 2), 0, 10), ((0, 2), 1, 4), ((0, 2), 4, 4), ((1,), 5, 8), ((0,), 5, 5)],
)
def test_how_far_verified_pieces_go_on(have: tuple[int, ...], at: int, until: int) -> None:
    assert PieceLayout(10, 4).run_end(PieceSet.of(have), at) == until
