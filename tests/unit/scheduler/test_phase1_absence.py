"""Nodes whose session broke, and a control plane that was started again: what is being read is not granted twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import OriginLimits, Phase1Config
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.phase1_control import PIECE, TASK, Control, read_from_origin
from tests.unit.scheduler.scheduler_world import blake3_of, digest

CONFIG = Phase1Config(reconnect_grace=2.0, doubted_grace=0.5, return_grace=3.0, return_seconds=0.001)


def two_readers(pieces: int = 10) -> tuple[Control, list[m.HeldLease]]:
    """ "a" reads some pieces, "b" the rest; returns what "a" would say of its leases."""
    control = Control(replace(CONFIG, default_origin=OriginLimits(node_streams=64, target_streams=64, streams=64)))
    for node in "ab":
        control.join(node, size=pieces * PIECE)
        control.ask(node, pieces // 2)
    control.told.clear()
    return control, held(control, "a")


def held(control: Control, node: str) -> list[m.HeldLease]:
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    return [m.HeldLease(own.lease, own.start, own.count, own.after) for own in view.leases if own.node == node]


def lose(control: Control, node: str) -> None:
    control.take(control.phase1.node_lost(node, control.now))


def come_back(
    control: Control, node: str, leases: tuple[m.HeldLease, ...] = (), have: bytes = b"", pieces: int = 10
) -> None:
    """A new session: it joins, says all it has to say, and asks again."""
    control.take(control.phase1.node_joined(node, f"{node}:1", m.Location(), control.now))
    told = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in PieceSet.from_bytes(have))
    control.join(node, size=pieces * PIECE, have=have, leases=leases, digests=told)
    control.report(node)
    control.ask(node, pieces)


def test_a_broken_session_takes_no_leases_away_from_a_node_that_comes_back() -> None:
    control, leases = two_readers()
    mine = control.leased("a")
    lose(control, "a")
    control.ask("b", 10)
    control.wait(1.5)
    assert control.leased("a") == mine and mine.isdisjoint(control.leased("b"))
    first = min(mine)
    come_back(control, "a", tuple(leases), have=PieceSet.of([first]).to_bytes())
    assert not control.heard("a", m.LeaseRevoked)
    assert mine - {first} <= control.leased("a")
    for _ in range(10):
        control.verified("a", *control.leased("a"))
        control.verified("b", *control.leased("b"))
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    assert (view.held, view.origin_bytes) == (PieceSet.full(10), 10 * PIECE)
    assert {member.node: member.bytes_origin for member in view.members}["a"] >= len(mine) * PIECE


def test_an_absent_node_is_granted_nothing() -> None:
    control, _ = two_readers(40)
    control.ask("a", 40)
    before = control.leased("a")
    lose(control, "a")
    control.told.clear()
    control.verified("b", *control.leased("b"))
    control.wait(1.0)
    assert control.leased("a") == before
    assert not control.heard("a", m.LeaseGranted)


def test_a_node_that_does_not_come_back_is_gone_after_a_while() -> None:
    control, _ = two_readers()
    control.ask("b", 10)
    lose(control, "a")
    control.wait(1.9)
    assert control.leased("a")
    control.wait(0.2)
    assert not control.leased("a") and "a" not in {view.node for view in control.phase1.nodes(control.now)}
    while control.leased("b"):
        control.verified("b", *control.leased("b"))
    assert set(view_held(control)) == set(range(10))


def view_held(control: Control) -> PieceSet:
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    return view.held


def test_a_node_that_its_children_lost_too_is_gone_sooner() -> None:
    control, _ = two_readers()
    lose(control, "a")
    control.report("b", m.TaskReport(TASK, parents=(m.ParentReport("a", failures=1),)))
    control.wait(0.4)
    assert control.leased("a")
    control.wait(0.2)
    assert not control.leased("a")


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        pytest.param(0.1, 0.4, id="a child may be the first to say that a node is gone"),
        pytest.param(0.7, 1.8, id="a failure long ago says nothing of a session that breaks now"),
    ],
)
def test_what_a_child_said_before_a_session_broke(before: float, kept: float) -> None:
    """`before`: seconds from what it said; `kept`: those from the break for which the leases are."""
    control, _ = two_readers()
    control.report("b", m.TaskReport(TASK, parents=(m.ParentReport("a", failures=1),)))
    control.wait(before)
    lose(control, "a")
    control.wait(kept)
    assert control.leased("a")
    control.wait(0.3)
    assert not control.leased("a")


def test_a_failure_of_a_present_parent_takes_nothing_from_it() -> None:
    control, _ = two_readers()
    control.report("b", m.TaskReport(TASK, parents=(m.ParentReport("a", failures=1),)))
    control.wait(2.5)
    assert control.leased("a")


def test_a_killed_node_that_is_started_again_gives_its_leases_back_at_once() -> None:
    control, _ = two_readers()
    mine = control.leased("a")
    control.ask("b", 10)
    lose(control, "a")
    come_back(control, "a")
    control.told.clear()
    control.verified("b", *control.leased("b"))
    control.verified("a", *control.leased("a"))
    control.verified("b", *control.leased("b"))
    assert mine <= set(view_held(control)) | control.leased("a") | control.leased("b")


def test_tasks_that_a_node_does_not_name_again_are_left() -> None:
    control, _ = two_readers()
    control.join("a", task=digest(7))
    lose(control, "a")
    control.take(control.phase1.node_joined("a", "a:2", m.Location(), control.now))
    assert digest(7) in control.phase1.tasks()
    control.join("a", leases=tuple(held(control, "a")))
    control.report("a")
    assert control.phase1.tasks() == (TASK,)


def test_a_node_that_comes_back_and_says_nothing_is_not_believed_for_long() -> None:
    control, _ = two_readers()
    lose(control, "a")
    control.wait(1.0)
    control.take(control.phase1.node_joined("a", "a:2", m.Location(), control.now))
    control.wait(1.5)
    assert control.leased("a")
    control.wait(1.0)
    assert not control.leased("a")
    assert {view.node: view.tasks for view in control.phase1.nodes(control.now)}["a"] == 0


def test_leases_of_an_earlier_life_are_taken_over() -> None:
    control = Control(CONFIG)
    come_back(control, "a", (m.HeldLease(77, 0, 4), m.HeldLease(78, 4, 2, 77)), have=b"\x01")
    assert {(lease.lease, lease.start) for lease in held(control, "a")} >= {(77, 0), (78, 4)}
    assert {1, 2, 3, 4, 5} <= control.leased("a")
    control.join("b")
    control.ask("b", 10)
    assert not control.leased("b") & control.leased("a")
    control.report("a", m.TaskReport(TASK, lease_bytes={77: PIECE}))
    control.verified("a", 1, 2, 3)
    view = control.phase1.task(TASK, control.now)
    assert view is not None and view.origin_bytes == 3 * PIECE
    following = next(lease for lease in view.leases if lease.lease == 78)
    assert following.after == 0, "it takes its predecessor's place"


def test_leases_granted_to_others_meanwhile_are_taken_back() -> None:
    control = Control(CONFIG)
    control.join("b", size=4 * PIECE)
    control.ask("b", 4)
    theirs = control.leased("b")
    come_back(control, "a", (m.HeldLease(5, min(theirs), 1), m.HeldLease(6, 3, 1)), pieces=4)
    revoked = control.heard("a", m.LeaseRevoked)
    assert m.LeaseRevoked(TASK, 5) in revoked
    assert not control.leased("a") & theirs


def test_leases_that_make_no_sense_are_taken_back() -> None:
    control = Control(CONFIG)
    nonsense = (m.HeldLease(1, 9, 5), m.HeldLease(2, -1, 2), m.HeldLease(3, 0, 0), m.HeldLease(-4, 0, 1))
    come_back(control, "a", nonsense)
    assert len(control.heard("a", m.LeaseRevoked)) == len(nonsense)


def test_a_lease_that_another_node_holds_is_not_given_away_by_its_number() -> None:
    control, leases = two_readers()
    come_back(control, "thief", (leases[0],))
    assert control.heard("thief", m.LeaseRevoked) == [m.LeaseRevoked(TASK, leases[0].lease)]
    assert control.leased("a")


def test_a_later_join_in_a_session_says_nothing_of_leases() -> None:
    """Joining again renews a capability; a lease granted at the same moment may not have reached the node yet."""
    control, _ = two_readers()
    mine = control.leased("a")
    control.report("a")
    control.join("a")
    assert control.leased("a") == mine
    assert not control.heard("a", m.LeaseRevoked)


def test_a_restarted_control_plane_grants_nothing_before_the_nodes_of_before_have_spoken() -> None:
    control = Control(CONFIG)
    control.phase1.expect(["a", "b"], control.now)
    control.join("new")
    control.ask("new", 10)
    assert not control.leased("new")
    come_back(control, "a", (m.HeldLease(9, 0, 3),))
    assert control.leased("a") == {0, 1, 2}
    assert not control.leased("new")
    come_back(control, "b", have=b"\xf8\x01")
    assert control.leased("new") | control.leased("a") | control.leased("b") == {0, 1, 2, 9}
    assert control.leased("a") >= {0, 1, 2}


def test_it_does_not_wait_for_nodes_that_stay_away() -> None:
    control = Control(CONFIG)
    control.phase1.expect(["a", "gone"], control.now)
    control.join("new")
    control.ask("new", 10)
    control.wait(2.9)
    assert not control.leased("new")
    control.wait(0.2)
    assert control.leased("new")


def test_numbers_of_leases_taken_over_are_not_used_again() -> None:
    control = Control(CONFIG)
    control.join("b", size=64 * PIECE)
    control.ask("b", 1)
    (first,) = held(control, "b")
    come_back(control, "a", (m.HeldLease(first.lease + 1, 40, 2),), pieces=64)
    control.ask("b", 64)
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    numbers = [lease.lease for lease in view.leases]
    assert len(set(numbers)) == len(numbers)
    assert {40, 41} <= control.leased("a")


def all_read(control: Control) -> PieceSet:
    """By both; what "a" read."""
    mine: set[int] = set()
    for _ in range(10):
        for node in "ab":
            control.ask(node, 10)
            leased = control.leased(node)
            mine |= leased if node == "a" else set()
            control.verified(node, *leased)
    assert mine and read_from_origin(control) == 10 * PIECE
    return PieceSet.of(mine)


def away(control: Control, node: str, seconds: float) -> None:
    control.take(control.phase1.node_away(node, seconds, control.now))


def test_what_a_node_holds_that_restarts_is_not_read_again() -> None:
    """However long its children complain that nobody can get it."""
    control, _ = two_readers()
    lost = all_read(control)
    lose(control, "a")
    away(control, "a", 60.0)
    for _ in range(20):
        control.wait(2.5)
        control.report("b", m.TaskReport(TASK, parents=(m.ParentReport("a", failures=1),)))
        control.say("b", m.LeaseRequest(TASK, 10, lost.to_bytes()))
    assert not control.leased("b")
    control.take(control.phase1.node_joined("a", "a:2", m.Location(), control.now))
    control.wait(5.0)
    control.join("a", have=lost.to_bytes(), digests=tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in lost))
    control.report("a")
    control.ask("b", 10)
    assert not control.leased("b")
    assert read_from_origin(control) == 10 * PIECE


def test_one_that_does_not_come_back_is_given_up_in_the_end() -> None:
    control, _ = two_readers()
    lost = all_read(control)
    away(control, "a", 30.0)
    control.wait(29.0)
    control.ask("b", 10)
    assert not control.leased("b")
    control.wait(2.0)
    assert control.leased("b") and control.leased("b") <= set(lost)
