"""Origin leases that fail, stand still or are overtaken, and pieces that must be read again."""

from __future__ import annotations

from modeldist.scheduler import messages as m
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.phase1_control import PIECE, TASK, Control, limits, read_from_origin
from tests.unit.scheduler.scheduler_world import blake3_of


def one_of_two_reads(control: Control) -> str:
    """Nodes a and b want a shard of one piece; the one that was granted it."""
    for node in "ab":
        control.join(node, size=PIECE)
        control.ask(node, 1)
    return "a" if control.leased("a") else "b"


def test_a_lease_without_progress_is_revoked_and_granted_to_another() -> None:
    control = Control()
    control.join("a")
    control.ask("a", 1)
    control.join("b")
    control.ask("b")
    (lease,) = control.heard("a", m.LeaseGranted)
    assert isinstance(lease, m.LeaseGranted)
    control.wait(3.0)
    control.report("a", m.TaskReport(TASK, lease_bytes={lease.lease: 10}))
    control.wait(3.0)
    assert control.leased("a") == {lease.start}
    while leased := sorted(control.leased("b")):
        control.verified("b", *leased)
    for _ in range(5):
        control.report("a")
        control.wait(1.0)
    assert m.LeaseRevoked(TASK, lease.lease) in control.heard("a", m.LeaseRevoked)
    assert lease.start in control.leased("b")


def test_a_lease_everybody_waits_for_is_taken_back_sooner() -> None:
    control = Control()
    holder = one_of_two_reads(control)
    for _ in range(6):
        control.report(holder)
        control.wait(0.9)
    assert control.heard(holder, m.LeaseRevoked)
    control.wait(0.1)
    assert control.leased("ab".replace(holder, "")) == {0}


def test_a_node_that_says_nothing_for_a_while_is_not_taken_to_stand_still() -> None:
    """Its machine may be busy: what it reads meanwhile would be read twice."""
    control = Control()
    holder = one_of_two_reads(control)
    control.report(holder)
    control.wait(9.5)
    control.report(holder)
    control.wait(0.1)
    assert control.leased(holder) == {0}
    control.verified(holder, 0)
    assert not control.heard(holder, m.LeaseRevoked)
    assert read_from_origin(control) == PIECE


def test_a_node_that_says_nothing_for_long_loses_its_leases() -> None:
    control = Control()
    holder = one_of_two_reads(control)
    control.report(holder)
    control.wait(10.5)
    assert control.heard(holder, m.LeaseRevoked)


def test_what_was_read_in_spite_of_all_is_not_read_by_another() -> None:
    control = Control()
    control.join("late", leases=(m.HeldLease(5, 0, 1),))
    control.report("late")
    control.wait(10.5)
    assert control.heard("late", m.LeaseRevoked)
    control.join("b", leases=(m.HeldLease(9, 0, 1),))
    assert control.leased("b") == {0}
    control.verified("late", 0)
    assert control.heard("b", m.LeaseRevoked) == [m.LeaseRevoked(TASK, 9)]
    assert control.heard("b", m.PieceDigests) == [m.PieceDigests(TASK, (m.PieceDigest(0, blake3_of(0)),))]
    assert read_from_origin(control) == PIECE
    control.ask("b", 1)
    assert control.leased("b") and 0 not in control.leased("b")


def test_a_lease_being_read_is_not_broken_off_for_a_part_of_it_but_one_that_waits_is() -> None:
    control = Control()
    control.join("late", leases=(m.HeldLease(5, 0, 1), m.HeldLease(6, 4, 1)))
    control.report("late")
    control.wait(10.5)
    control.join("b", leases=(m.HeldLease(9, 0, 4), m.HeldLease(10, 4, 4, 9)))
    control.verified("late", 0, 4)
    assert control.heard("b", m.LeaseRevoked) == [m.LeaseRevoked(TASK, 10)]


def test_what_a_node_brings_along_is_not_read_by_another() -> None:
    control = Control()
    control.join("b", leases=(m.HeldLease(9, 0, 2),))
    assert control.leased("b") == {0, 1}
    told = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in (0, 1))
    control.join("late", have=b"\x03", digests=told)
    assert control.heard("b", m.LeaseRevoked) == [m.LeaseRevoked(TASK, 9)]


def test_a_failed_lease_is_granted_to_another_and_what_was_read_stays() -> None:
    control = Control()
    control.join("a", size=4 * PIECE)
    control.ask("a", 4)
    control.verified("a", *control.leased("a"))
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    (lease,) = view.leases[:1] or (None,)
    if lease is not None:
        control.join("b", size=4 * PIECE)
        control.ask("b", 4)
        control.say("a", m.LeaseFailed(TASK, lease.lease, lease.unread.to_bytes(), "503"))
        assert control.leased("b") >= set(lease.unread)
    control.say("a", m.LeaseFailed(TASK, 12345, b"\x01", "never granted"))


def test_a_node_alone_that_fails_tries_again_later() -> None:
    control = Control()
    control.join("a", size=PIECE)
    control.ask("a", 1)
    for pause in (1.1, 2.1, 4.1):
        (lease,) = control.heard("a", m.LeaseGranted)
        assert isinstance(lease, m.LeaseGranted)
        control.say("a", m.LeaseFailed(TASK, lease.lease, b"\x01", "503"))
        control.wait(pause / 2)
        assert not control.leased("a")
        control.wait(pause / 2)
        assert control.leased("a") == {0}


def test_what_a_lost_node_alone_held_can_be_leased_again() -> None:
    control = Control()
    control.join("a", size=3 * PIECE)
    control.ask("a", 3)
    control.verified("a", *control.leased("a"))
    control.join("b", size=3 * PIECE)
    control.ask("b", 3)
    control.take(control.phase1.node_left("a", control.now))
    for _ in range(3):
        control.verified("b", *control.leased("b"))
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    assert view.held == PieceSet.full(3)
    assert [member.node for member in view.members] == ["b"]


def out_of_reach(control: Control, node: str, pieces: PieceSet) -> None:
    control.say(node, m.LeaseRequest(TASK, 10, pieces.to_bytes()))


def test_what_its_holders_do_not_serve_is_read_again_once() -> None:
    control = Control(limits(node_streams=1, target_streams=4))
    digests = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in range(10))
    control.join("useless", have=PieceSet.full(10).to_bytes(), digests=digests, seed_only=True)
    for node in "ab":
        control.join(node)
        out_of_reach(control, node, PieceSet.full(10))
    assert control.leased("a") and control.leased("b")
    for _ in range(10):
        for node in "ab":
            control.verified(node, *sorted(control.leased(node))[:1])
        control.wait(0.1)
    assert read_from_origin(control) == 10 * PIECE


def test_what_is_out_of_reach_and_not_held_is_an_ordinary_piece() -> None:
    control = Control()
    control.join("a")
    control.ask("a", 1)
    (piece,) = control.leased("a")
    control.join("b")
    out_of_reach(control, "b", PieceSet.full(10))
    control.verified("a", piece)
    assert piece not in control.leased("b")


def test_pieces_whose_holder_tells_no_digest_are_leased_in_the_end() -> None:
    control = Control()
    control.join("seed", have=PieceSet.full(10).to_bytes(), seed_only=True)
    control.join("a")
    control.ask("a")
    control.wait(1.0)
    assert not control.leased("a")
    control.wait(1.5)
    assert control.leased("a")


def test_a_lease_that_waits_for_a_reader_is_not_stuck_at_once() -> None:
    control = Control(limits(node_streams=2, ramp=2))
    control.join("a")
    control.ask("a")
    first, second = [lease for lease in control.heard("a", m.LeaseGranted) if not lease.after]  # type: ignore[attr-defined]
    revoked: list[m.Instruction] = []
    for step in range(35):
        control.report("a", m.TaskReport(TASK, lease_bytes={first.lease: step + 1}))  # type: ignore[attr-defined]
        control.wait(1.0)
        revoked += control.heard("a", m.LeaseRevoked)
        assert (m.LeaseRevoked(TASK, second.lease) in revoked) == (control.now >= 30)  # type: ignore[attr-defined]
