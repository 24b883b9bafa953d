"""Cutting a shard anew keeps exactly the pieces whose every byte is verified."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modeldist.agent.store.recheck import covered
from modeldist.scheduler.pieces import PieceLayout, PieceSet


def bytes_in(layout: PieceLayout, pieces: PieceSet) -> set[int]:
    return {
        byte for piece in pieces for byte in range(layout.offset(piece), layout.offset(piece) + layout.length(piece))
    }


@given(size=st.integers(0, 200), old=st.integers(1, 60), new=st.integers(1, 60), bits=st.integers(min_value=0))
def test_covered_pieces_are_those_with_every_byte_verified(size: int, old: int, new: int, bits: int) -> None:
    before, after = PieceLayout(size, old), PieceLayout(size, new)
    have = PieceSet(bits) & before.all
    verified = bytes_in(before, have)
    expected = [piece for piece in after.all if bytes_in(after, PieceSet.of([piece])) <= verified]
    assert list(covered(before, have, after)) == expected


def test_another_size_keeps_nothing() -> None:
    assert not covered(PieceLayout(100, 10), PieceSet.full(10), PieceLayout(101, 10))
