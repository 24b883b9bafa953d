"""Phase 2 of a node that wants some pieces of a shard only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceLayout, PieceSet
from tests.unit.scheduler.test_phase2_choice import PIECE, TASK, Child

PIECES = 512
LAYOUT = PieceLayout(PIECES * PIECE, PIECE)


def child_of(only: PieceSet, have: PieceSet | None = None, seed: int = 1) -> Child:
    child = Child(seed=seed)
    child.tell(p2.TaskAdded(TASK, LAYOUT, have or PieceSet(), only=only))
    child.tell(p2.DigestsKnown(TASK, LAYOUT.all))
    return child


def drain(child: Child) -> list[int]:
    """The pieces in the order in which they were asked for."""
    order = []
    while child.open:
        order.append(child.open[0].piece)
        child.answer(child.open[0], 0.01)
    return order


@given(st.sets(st.integers(0, PIECES - 1), min_size=1, max_size=40), st.sets(st.integers(0, PIECES - 1), max_size=40))
def test_it_asks_for_what_it_wants_and_lacks_and_is_complete_then(wanted: set[int], have: set[int]) -> None:
    child = child_of(PieceSet.of(wanted), PieceSet.of(have))
    child.parents("a")
    child.has("a", *range(PIECES))
    assert sorted(drain(child)) == sorted(wanted - have)
    assert child.said.count(p2.TaskComplete(TASK)) == 1


def test_it_asks_to_read_no_more_than_it_lacks() -> None:
    child = child_of(PieceSet.of((1, 2, 9)), PieceSet.of((2, 5)))
    assert [said for said in child.said if isinstance(said, p2.RequestLease)] == [p2.RequestLease(TASK, 2)]


def test_what_it_does_not_want_is_nothing_new() -> None:
    child = child_of(PieceSet.of((1, 2)))
    child.tell(p2.PieceVerified(TASK, 300))
    child.tell(p2.PieceVerified(TASK, 1))
    assert p2.TaskComplete(TASK) not in child.said
    child.tell(p2.PieceVerified(TASK, 2))
    assert p2.TaskComplete(TASK) in child.said


def test_two_who_want_the_same_part_begin_with_different_pieces() -> None:
    """Or they would have nothing to give each other: a part as small as the last of a whole shard is not at its end."""
    orders = []
    for seed in range(2):
        child = child_of(PieceSet.span(100, 60), seed=seed)
        child.parents("seed", "mate")
        child.has("seed", *range(PIECES))
        orders.append(drain(child)[:10])
    assert len(set(orders[0]) & set(orders[1])) < 8
    assert orders[0] != sorted(orders[0])
