"""How shards are cut, and sets of pieces."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.scheduler.pieces import MIB, PieceLayout, PieceSet, piece_size_for, random_member

sets = st.sets(st.integers(0, 200))


@pytest.mark.parametrize(
    ("size", "piece"),
    [
        (0, MIB // 4),
        (1, MIB // 4),
        (128 * MIB, MIB // 4),
        (256 * MIB, MIB // 2),
        (2048 * MIB, 4 * MIB),
        (1 << 40, 16 * MIB),
    ],
)
def test_a_shard_is_cut_into_pieces_of_a_power_of_two(size: int, piece: int) -> None:
    assert piece_size_for(size) == piece


def test_the_last_piece_may_be_shorter() -> None:
    layout = PieceLayout(250, 100)
    assert layout.count == 3
    assert [layout.length(piece) for piece in range(3)] == [100, 100, 50]
    assert layout.offset(2) == 200
    assert layout.bytes_of(layout.all) == 250
    assert layout.bytes_of(PieceSet.of((0, 1))) == 200
    assert PieceLayout(0, 100).bytes_of(PieceLayout(0, 100).all) == 0


@given(sets, sets)
def test_piece_sets_are_sets(left: set[int], right: set[int]) -> None:
    a, b = PieceSet.of(left), PieceSet.of(right)
    assert set(a | b) == left | right
    assert set(a & b) == left & right
    assert set(a - b) == left - right
    assert len(a) == len(left)
    assert bool(a) == bool(left)
    assert PieceSet.from_bytes(a.to_bytes()) == a


def test_members_come_and_go() -> None:
    pieces = PieceSet.span(3, 2).add(9).discard(4)
    assert list(pieces) == [3, 9]
    assert 9 in pieces and 4 not in pieces
    assert pieces.next_from(4) == 9
    assert pieces.next_from(10) == 3
    assert PieceSet().next_from(0) is None


@given(sets.filter(bool), st.integers())
def test_a_random_member_is_a_member(members: set[int], seed: int) -> None:
    assert random_member(PieceSet.of(members).bits, random.Random(seed)) in members


@given(st.integers(1, 500), st.integers(1, 60), st.lists(st.tuples(st.integers(-20, 520), st.integers(-20, 520))))
def test_ranges_touch_the_pieces_that_have_their_bytes(
    size: int, piece_size: int, ranges: list[tuple[int, int]]
) -> None:
    layout = PieceLayout(size, piece_size)
    wanted = {byte // piece_size for start, stop in ranges for byte in range(max(start, 0), min(stop, size))}
    assert set(layout.touching(ranges)) == wanted


@given(st.integers(0, 500), st.integers(1, 60), sets)
def test_pieces_and_their_ranges_say_the_same(size: int, piece_size: int, members: set[int]) -> None:
    layout = PieceLayout(size, piece_size)
    pieces = PieceSet.of(members) & layout.all
    ranges = layout.ranges(pieces)
    assert layout.touching(ranges) == pieces
    assert sum(stop - start for start, stop in ranges) == layout.bytes_of(pieces)
    assert all(stop < start for (_, stop), (start, _) in pairwise(ranges))  # none could be joined
