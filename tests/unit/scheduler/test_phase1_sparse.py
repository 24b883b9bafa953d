"""Members that need some pieces of a shard only, beside those that need all of it."""

from __future__ import annotations

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import Phase1Config
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.phase1_control import PIECE, TASK, Control, held, read_from_origin
from tests.unit.scheduler.scheduler_world import blake3_of

PIECES = 30
SIZE = PIECES * PIECE


def part(*pieces: int) -> bytes:
    return PieceSet.of(pieces).to_bytes()


def read_all(control: Control, *nodes: str) -> None:
    """Each reads what it is granted until nothing is granted any more."""
    for _ in range(200):
        moved = False
        for node in nodes:
            for piece in sorted(control.leased(node))[:1]:
                control.verified(node, piece)
                moved = True
        control.wait(0.1)
        if not moved:
            return
    raise AssertionError("it never came to rest")


def parents(control: Control, node: str) -> set[str]:
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    return set(next(member.parents for member in view.members if member.node == node))


def wants(control: Control, node: str) -> bool:
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    return next(member.wants for member in view.members if member.node == node)


def test_a_node_reads_the_pieces_it_wants_and_no_others() -> None:
    control = Control()
    control.join("a", size=SIZE, only=part(3, 4, 5, 20))
    control.ask("a", 4)
    read_all(control, "a")
    assert held(control) == {3, 4, 5, 20}
    assert read_from_origin(control) == 4 * PIECE
    assert not wants(control, "a")


def test_what_several_want_is_read_once() -> None:
    control = Control()
    wanted = {"a": range(10), "b": range(5, 15), "c": range(PIECES)}
    for node, pieces in wanted.items():
        control.join(node, size=SIZE, only=b"" if node == "c" else part(*pieces))
    for node in wanted:
        control.ask(node, PIECES)
    read_all(control, *wanted)
    assert held(control) == set(range(PIECES))
    assert read_from_origin(control) == SIZE


def test_what_only_one_wants_is_read_by_that_one() -> None:
    control = Control()
    control.join("a", size=SIZE, only=part(*range(10)))
    control.join("b", size=SIZE, only=part(*range(10, 20)))
    for node in "ab":
        control.ask(node, 10)
    for _ in range(20):
        assert control.leased("a") <= set(range(10))
        assert control.leased("b") <= set(range(10, 20))
        for node in "ab":
            control.verified(node, *sorted(control.leased(node))[:1])
        control.wait(0.1)
    assert held(control) == set(range(20))


def test_a_node_that_has_what_it_wants_is_told_nothing_more_and_serves() -> None:
    control = Control()
    control.join("a", size=SIZE, have=part(1, 2), only=part(1, 2))
    assert not wants(control, "a")
    control.join("b", size=SIZE, only=part(2, 3))
    control.wait(0.5)
    assert parents(control, "b") == {"a"}
    control.ask("b", 2)
    assert control.leased("b") == {3}


def test_an_offer_of_some_pieces_is_no_claim_to_have_all() -> None:
    control = Control()
    control.join("a", size=SIZE, have=part(1, 2), only=part(1, 2), seed_only=True)
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    assert (set(view.held), view.holders) == ({1, 2}, 0)
    assert not wants(control, "a")


def test_parents_have_or_will_have_something_that_is_wanted() -> None:
    control = Control()
    control.join("a", size=SIZE, only=part(1, 2))
    control.join("b", size=SIZE, only=part(8, 9))
    control.join("c", size=SIZE, only=part(2, 8))
    control.join("all", size=SIZE)
    control.wait(0.5)
    control.wait(0.5)
    assert parents(control, "a") == {"c", "all"}
    assert parents(control, "b") == {"c", "all"}
    assert parents(control, "c") == {"a", "b", "all"}
    assert parents(control, "all") == {"a", "b", "c"}


def test_a_piece_that_no_parent_of_a_child_has_brings_it_another_parent() -> None:
    """Forty of one rank, whose lists are full of each other, and one of another rank that alone has what both want."""
    control = Control(Phase1Config(restart_grace=0.0, candidates=4, far_candidates=1, adopt=0))
    alike = [f"n{index}" for index in range(40)]
    for node in alike:
        control.join(node, size=SIZE, only=part(0, 1))
    control.join("other", size=SIZE, only=part(1, 2), have=part(1))
    for _ in range(30):
        control.wait(0.1)
    for node in alike:
        assert "other" in parents(control, node)
        assert len(parents(control, node)) <= 4


def test_sparse_members_take_no_share_of_what_a_rack_brings_in() -> None:
    control = Control()
    for node, only in (("a", b""), ("b", b""), ("part", part(3))):
        control.take(control.phase1.node_joined(node, f"{node}:1", m.Location("r"), control.now))
        control.join(node, size=SIZE, only=only)
    control.wait(0.5)
    told = {node: control.heard(node, m.Parents)[-1] for node in ("a", "b", "part")}
    shares = {node: message.share for node, message in told.items() if isinstance(message, m.Parents)}
    assert {shares["a"], shares["b"]} == {(0, 2), (1, 2)}
    assert shares["part"] == (0, 0)


def test_sparse_members_stay_out_of_the_trees_of_a_large_swarm() -> None:
    control = Control()
    whole = [f"n{index}" for index in range(60)]
    for node in whole:
        control.join(node, size=100 * PIECE)
    control.join("part", size=100 * PIECE, only=part(7, 8))
    for _ in range(10):
        control.wait(0.1)
    for node in (*whole, "part"):
        control.ask(node, 100)
    assert control.leased("part") == set()  # the roots read it
    assert any(control.leased(node) for node in whole)
    assert all(message.stripes == 0 for message in control.heard("part", m.Parents) if isinstance(message, m.Parents))
    for node in whole:
        control.take(control.phase1.node_left(node, control.now))
    control.wait(0.1)
    assert control.leased("part") == {7, 8}  # nobody else is left to


def test_a_swarm_of_many_ranks_is_not_striped() -> None:
    control = Control()
    for index in range(60):
        control.join(f"n{index}", size=100 * PIECE, only=part(index, index + 1))
    for _ in range(10):
        control.wait(0.1)
    for index in range(60):
        control.ask(f"n{index}", 2)
    read_all(control, *(f"n{index}" for index in range(60)))
    assert held(control) == set(range(61))
    assert read_from_origin(control) == 61 * PIECE


def test_who_wants_more_later_joins_again() -> None:
    control = Control()
    control.join("a", size=SIZE, only=part(1, 2))
    control.ask("a", 2)
    read_all(control, "a")
    control.join("a", size=SIZE, have=part(1, 2), only=part(1, 2, 3))
    assert wants(control, "a")
    control.ask("a", 1)
    read_all(control, "a")
    control.join("a", size=SIZE, have=part(1, 2, 3))
    control.ask("a", PIECES)
    read_all(control, "a")
    assert held(control) == set(range(PIECES))
    assert read_from_origin(control) == SIZE


def test_what_is_wanted_in_other_pieces_is_what_has_their_bytes() -> None:
    control = Control()
    control.join("a", size=SIZE)
    join = m.TaskJoin(TASK, SIZE, "origin", piece_size=3 * PIECE, only=part(2))
    control.take(control.phase1.node_joined("b", "b:1", m.Location(), control.now))
    control.say("b", m.JoinTasks((join,)))
    control.ask("b", PIECES)
    read_all(control, "b")
    assert held(control) == {6, 7, 8}


def test_offered_pieces_whose_digests_are_told_are_not_read_again() -> None:
    """As after a restart of the control plane, which knows no chunk table yet."""
    control = Control()
    told = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in (1, 2))
    control.join("a", size=SIZE, have=part(1, 2), only=part(1, 2), seed_only=True, digests=told)
    control.join("b", size=SIZE, only=part(1, 2, 3))
    control.ask("b", 3)
    for _ in range(40):
        control.wait(0.1)
    assert control.leased("b") == {3}


def test_a_large_swarm_of_parts_is_looked_through_in_turns() -> None:
    """More than one look takes, all of whose lists lack the one that has what everybody needs."""
    control = Control(Phase1Config(restart_grace=0.0, candidates=2, far_candidates=0, adopt=0, refresh=1e9))
    alike = [f"n{index}" for index in range(60)]
    for node in alike:
        control.join(node, size=SIZE, only=part(0, 1))
    control.join("other", size=SIZE, only=part(1, 2), have=part(1))
    for _ in range(60):
        control.wait(0.1)
    assert all("other" in parents(control, node) for node in alike)
