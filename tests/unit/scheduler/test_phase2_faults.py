"""Parents that are busy, refuse, lie, are slow, stand still or go; tasks that end or start again."""

from __future__ import annotations

from modeldist.scheduler.messages import Parent
from modeldist.scheduler.phase2 import Phase2Config
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceLayout, PieceSet
from tests.unit.scheduler.scheduler_world import digest
from tests.unit.scheduler.test_phase2_choice import PIECE, TASK, Child


def two_parents(pieces: int = 10, config: Phase2Config | None = None) -> Child:
    child = Child(config)
    child.task(pieces)
    child.parents("a", "b")
    child.has("a", *range(pieces))
    child.has("b", *range(pieces))
    return child


def first_of(child: Child, node: str) -> p2.FetchFromPeer:
    return next(request for request in child.open if request.node == node)


def test_a_busy_parent_is_left_alone_until_its_time() -> None:
    child = two_parents()
    request = first_of(child, "a")
    child.end(request, p2.PieceBusy(TASK, request.piece, "a", 2.0))
    assert not child.asked("a")
    child.tick(1.0)
    assert not child.asked("a")
    child.tick(1.1)
    assert child.asked("a")


def test_a_busy_parent_cannot_lock_its_child_out() -> None:
    child = two_parents()
    for node in "ab":
        request = first_of(child, node)
        child.end(request, p2.PieceBusy(TASK, request.piece, node, 1e9))
    child.tick(61.0)
    assert child.open


def test_a_refused_piece_is_not_asked_there_again_until_it_says_it_has_it() -> None:
    child = Child()
    child.task(1)
    child.parents("a")
    child.has("a", 0)
    child.end(child.open[0], p2.PieceRefused(TASK, 0, "a", "not here"))
    child.tick(1.0)
    assert not child.open
    child.has("a", 0)
    assert child.asked("a") == [0]


def test_failures_rest_a_parent_longer_each_time() -> None:
    child = two_parents(100)
    rests = []
    for _ in range(3):
        while not child.asked("a"):
            child.tick(0.1)
        request = first_of(child, "a")
        child.end(request, p2.PieceRefused(TASK, request.piece, "a", "no"))
        since = child.now
        while not child.asked("a"):
            child.tick(0.1)
        rests.append(child.now - since)
    assert rests[0] < rests[1] < rests[2]


def test_a_parent_that_sends_wrong_bytes_is_banned_from_the_task() -> None:
    child = two_parents()
    child.parents("a", task=digest(2))
    request = first_of(child, "a")
    child.open.remove(request)
    child.tell(p2.PieceFetched(TASK, request.piece, "a", PIECE, 0.1))
    child.tell(p2.PieceRejected(TASK, request.piece, "a"))
    assert p2.Unsubscribe(TASK, "a") in child.said
    since = len(child.said)
    child.parents("a", "b")
    while child.open:
        child.answer(child.open[0], 0.1)
    assert "a" not in {said.node for said in child.said[since:] if isinstance(said, p2.FetchFromPeer)}
    assert p2.TaskComplete(TASK) in child.said


def test_better_a_parent_that_failed_before_than_none() -> None:
    child = Child()
    child.task(1)
    child.parents("a")
    child.has("a", 0)
    child.open.clear()
    child.tell(p2.PieceFetched(TASK, 0, "a", PIECE, 0.1))
    child.tell(p2.PieceRejected(TASK, 0, "a"))
    said = [said for _ in range(60) for said in child.tick(0.1)]
    assert p2.Connect("a", "a:1") in said
    child.tell(p2.ParentConnected("a"))
    child.has("a", 0)
    assert child.asked("a") == [0]


def test_the_pieces_of_a_lost_parent_are_asked_of_others_and_it_is_called_again() -> None:
    child = two_parents()
    lost = child.asked("a")
    child.open = [request for request in child.open if request.node != "a"]
    child.tell(p2.ParentLost("a", "reset"))
    assert child.phase2.bytes_in_flight == PIECE
    while child.open:
        child.answer(child.open[0], 0.01)
    assert p2.TaskComplete(TASK) in child.said and lost

    child = two_parents()
    child.tell(p2.ParentLost("a", "reset"))
    assert p2.Connect("a", "a:1") not in child.tick(0.1)
    assert p2.Connect("a", "a:1") in child.tick(1.0)


def test_a_connection_that_stands_still_is_cut() -> None:
    child = Child()
    child.task(2)
    child.parents("a")
    child.has("a", 0, 1)
    out = child.tick(6.0)
    assert p2.Disconnect("a") in out
    assert child.phase2.bytes_in_flight == 0
    assert p2.Connect("a", "a:1") in child.tick(1.0)


def test_the_last_pieces_are_asked_twice_when_late_and_the_first_answer_counts() -> None:
    child = two_parents(6)
    while True:
        have = sum(isinstance(said, p2.FetchFromPeer) for said in child.said) - len(child.open)
        if have >= 4:
            break
        child.answer(child.open[0], 0.1)
    for _ in range(30):
        child.tick(0.1)
    asked = [(request.piece, request.node) for request in child.open]
    pieces = [piece for piece, _ in asked]
    assert len(asked) == len(set(asked)) > len(set(pieces))
    assert max(pieces.count(piece) for piece in pieces) == 2
    for piece in set(pieces):
        request = next(request for request in child.open if request.piece == piece)
        child.answer(request, 0.1)
    assert child.said.count(p2.TaskComplete(TASK)) == 1
    late = list(child.open)
    for request in late:
        child.answer(request, 0.1)
    assert child.said.count(p2.TaskComplete(TASK)) == 1
    assert child.phase2.bytes_in_flight == 0


def test_a_removed_task_lets_its_parents_go() -> None:
    child = two_parents()
    child.tell(p2.LeaseArrived(TASK, 7, 0, 2))
    out = child.tell(p2.TaskRemoved(TASK))
    assert {p2.Unsubscribe(TASK, "a"), p2.Unsubscribe(TASK, "b"), p2.StopLease(TASK, 7)} <= set(out)
    late = child.open[0]
    child.end(late, p2.PieceRefused(TASK, late.piece, late.node, "?"))
    late = child.open[0]
    child.tell(p2.PieceFetched(TASK, late.piece, late.node, PIECE, 0.1))
    child.tell(p2.PieceVerified(TASK, late.piece))
    assert child.phase2.bytes_in_flight == 0
    out = child.tick(10.0)
    assert {p2.Disconnect("a"), p2.Disconnect("b")} <= set(out)


def test_a_restarted_task_starts_from_nothing() -> None:
    child = two_parents()
    child.answer(child.open[0], 0.1)
    child.tell(p2.LeaseArrived(TASK, 7, 0, 2))
    out = child.tell(p2.TaskRestarted(TASK))
    assert p2.StopLease(TASK, 7) in out
    assert p2.RequestLease(TASK, 10) in out
    assert child.phase2.bytes_in_flight == 0
    child.open.clear()
    child.tell(p2.DigestsKnown(TASK, PieceSet.full(10)))
    assert not child.open  # the parents hold nothing that counts, until they say so
    child.has("a", *range(10))
    while child.open:
        child.answer(child.open[0], 0.1)
    assert child.said.count(p2.TaskComplete(TASK)) == 1


def test_a_new_list_replaces_the_old_one() -> None:
    child = Child()
    child.task(3)
    child.parents("a")
    out = child.tell(p2.ParentsChanged(TASK, (Parent("b", "b:1"),)))
    assert out == [p2.Unsubscribe(TASK, "a"), p2.Connect("b", "b:1")]
    assert child.tell(p2.ParentsChanged(TASK, (Parent("b", "b:1"),))) == []
    child.tell(p2.ParentConnected("b"))
    child.parents("b", task=TASK)
    child.task(1, digest(2))
    assert child.tell(p2.ParentsChanged(digest(2), (Parent("b", "b:1"),))) == [p2.Subscribe(digest(2), "b")]


def test_events_about_the_unknown_change_nothing() -> None:
    child = Child()
    child.task(1)
    child.task(1)
    nowhere = digest(9)
    for event in (
        p2.TaskRemoved(nowhere),
        p2.TaskRestarted(nowhere),
        p2.Awaited((p2.Run(nowhere, 1, 1),), (nowhere,)),
        p2.ParentsChanged(nowhere, ()),
        p2.ParentLost("x", "gone"),
        p2.ParentHas(TASK, "x", PieceSet.of((0,))),
        p2.DigestsKnown(nowhere, PieceSet()),
        p2.LeaseArrived(nowhere, 1, 0, 1),
        p2.LeaseGone(nowhere, 1),
        p2.PieceVerified(nowhere, 0),
        p2.PieceRejected(nowhere, 0, "x"),
        p2.PieceBusy(nowhere, 0, "x", 1.0),
        p2.PieceRefused(nowhere, 0, "x", "?"),
        p2.PieceFetched(nowhere, 0, "x", 1, 1.0),
    ):
        assert child.tell(event) == []
    assert child.tell(p2.ParentConnected("x")) == [p2.Disconnect("x")]


def test_a_parent_nobody_wants_any_more_is_forgotten_when_lost() -> None:
    child = Child()
    child.task(1)
    child.parents("a")
    child.tell(p2.ParentsChanged(TASK, ()))
    assert child.tell(p2.ParentLost("a", "gone")) == []
    assert child.tick(10.0) == [p2.RequestLease(TASK, 1)]


def test_leases_are_read_in_turn_and_so_many_at_a_time() -> None:
    child = Child(Phase2Config(origin_streams=2))
    child.task(20)
    assert child.said == [p2.RequestLease(TASK, 20)]
    assert child.tell(p2.LeaseArrived(TASK, 1, 0, 2)) == [p2.ReadLease(TASK, 1, 0, 2)]
    assert child.tell(p2.LeaseArrived(TASK, 1, 0, 2)) == []
    assert child.tell(p2.LeaseArrived(TASK, 2, 2, 2, after=1)) == []
    assert child.tell(p2.LeaseArrived(TASK, 3, 4, 2)) == [p2.ReadLease(TASK, 3, 4, 2)]
    assert child.tell(p2.LeaseArrived(TASK, 4, 6, 2)) == []
    for piece in (0, 1):
        child.tell(p2.PieceVerified(TASK, piece))
    assert child.tell(p2.LeaseGone(TASK, 1)) == [p2.ReadLease(TASK, 2, 2, 2)]
    out = child.tell(p2.LeaseGone(TASK, 3))  # revoked while its reader runs
    assert out == [p2.StopLease(TASK, 3), p2.ReadLease(TASK, 4, 6, 2)]
    assert child.tell(p2.LeaseGone(TASK, 3)) == []


def test_leased_pieces_are_not_fetched_from_peers_meanwhile() -> None:
    child = Child()
    child.task(2)
    child.tell(p2.LeaseArrived(TASK, 1, 0, 2))
    child.parents("a")
    child.has("a", 0, 1)
    assert not child.open
    child.tell(p2.LeaseGone(TASK, 1))
    assert child.open


def claimed(child: Child, node: str, pieces: int) -> None:
    """Phase 1 names a parent and what it holds; nobody answers there."""
    have = PieceSet.full(pieces).to_bytes()
    for instruction in child.tell(p2.ParentsChanged(TASK, (Parent(node, f"{node}:1", have),))):
        if isinstance(instruction, p2.Connect):
            child.tell(p2.ParentLost(node, "refused"))


def stand_still(child: Child, seconds: int) -> list[p2.Instruction]:
    said: list[p2.Instruction] = []
    for _ in range(seconds):
        out = child.tick(1.0)
        said += out
        for instruction in out:
            if isinstance(instruction, p2.Connect):
                child.tell(p2.ParentLost(instruction.node, "refused"))
    return said


def test_what_no_parent_serves_is_out_of_reach_after_a_while() -> None:
    child = Child()
    child.task(3)
    claimed(child, "a", 2)
    assert set(stand_still(child, 14)) <= {p2.RequestLease(TASK, 3), p2.Connect("a", "a:1")}
    assert p2.RequestLease(TASK, 3, PieceSet.full(2)) in stand_still(child, 6)


def test_what_a_parent_serves_after_all_is_in_reach_again() -> None:
    child = Child()
    child.task(3)
    claimed(child, "a", 2)
    stand_still(child, 20)
    while p2.Connect("a", "a:1") not in child.tick(1.0):
        pass
    child.tell(p2.ParentConnected("a"))
    child.said.clear()
    child.answer(child.open[0])
    assert p2.RequestLease(TASK, 2) in child.said


def test_what_a_busy_parent_holds_is_not_out_of_reach() -> None:
    child = Child()
    child.task(1)
    child.parents("a")
    child.has("a", 0)
    for _ in range(40):
        for request in list(child.open):
            child.end(request, p2.PieceBusy(TASK, 0, "a", 1.0))
        for instruction in child.tick(1.0):
            assert instruction in (p2.RequestLease(TASK, 1), p2.FetchFromPeer(TASK, 0, "a"))


def test_a_task_that_stands_still_repeats_its_lease_request() -> None:
    child = Child()
    child.task(3)
    child.said.clear()
    for _ in range(12):
        child.tick(1.0)
    assert child.said.count(p2.RequestLease(TASK, 3)) == 2


def test_a_partial_file_is_not_fetched_again() -> None:
    child = Child()
    child.tell(p2.TaskAdded(TASK, PieceLayout(3 * PIECE, PIECE), PieceSet.of((0, 1))))
    child.tell(p2.DigestsKnown(TASK, PieceSet.full(3)))
    child.parents("a")
    child.has("a", 0, 1, 2)
    assert child.asked("a") == [2]
    child.answer(child.open[0])
    assert p2.TaskComplete(TASK) in child.said
    assert child.tell(p2.ParentsChanged(TASK, (Parent("z", "z:1"),))) == []
