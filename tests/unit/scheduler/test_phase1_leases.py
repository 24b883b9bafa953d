"""Origin leases: one reader per piece, fair, within the origin's budget, taken back when nothing comes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import OriginLimits, Phase1, Phase1Config
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.scheduler_world import blake3_of, digest

TASK = digest(1)
PIECE = 1 << 20


class Control:
    """Phase 1 with short names for what nodes say."""

    def __init__(self, config: Phase1Config | None = None) -> None:
        self.phase1 = Phase1(config or Phase1Config(restart_grace=0.0), random.Random(1))
        self.now = 0.0
        self.seq = 0
        self.told: list[tuple[str, m.Instruction]] = []

    def join(
        self, node: str, task: m.Digest = TASK, size: int = 10 * PIECE, have: bytes = b"", **fields: object
    ) -> None:
        if node not in {view.node for view in self.phase1.nodes(self.now)}:
            self.take(self.phase1.node_joined(node, f"{node}:1", m.Location(), self.now))
        priority = fields.pop("priority", m.Priority.PULL)
        join = m.TaskJoin(task, size, "origin", have, piece_size=PIECE, **fields)  # type: ignore[arg-type]
        self.say(node, m.JoinTasks((join,), priority))  # type: ignore[arg-type]

    def ask(self, node: str, pieces: int = 10, task: m.Digest = TASK) -> None:
        self.say(node, m.LeaseRequest(task, pieces))

    def verified(self, node: str, *pieces: int, task: m.Digest = TASK) -> None:
        told = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in pieces)
        self.report(node, m.TaskReport(task, verified=told))

    def report(self, node: str, *reports: m.TaskReport) -> None:
        self.seq += 1
        self.say(node, m.Report(self.seq, tasks=reports))

    def say(self, node: str, event: m.Event) -> None:
        self.take(self.phase1.handle(node, event, self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.phase1.tick(self.now))

    def take(self, told: list[tuple[str, m.Instruction]]) -> None:
        self.told += told

    def heard(self, node: str, kind: type) -> list[m.Instruction]:
        """What a node was told since this was last asked."""
        found = [instruction for name, instruction in self.told if name == node and isinstance(instruction, kind)]
        self.told = [entry for entry in self.told if entry[0] != node or not isinstance(entry[1], kind)]
        return found

    def leased(self, node: str) -> set[int]:
        view = self.phase1.task(TASK, self.now)
        assert view is not None
        return {piece for lease in view.leases if lease.node == node for piece in lease.unread}

    def active(self) -> int:
        tasks = [self.phase1.task(task, self.now) for task in self.phase1.tasks()]
        return sum(not lease.after for task in tasks if task is not None for lease in task.leases)


def held(control: Control) -> set[int]:
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    return set(view.held)


def read_from_origin(control: Control) -> int:
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    return view.origin_bytes


def limits(**fields: object) -> Phase1Config:
    return Phase1Config(default_origin=OriginLimits(**fields), restart_grace=0.0)  # type: ignore[arg-type]


def test_all_askers_get_leases_and_no_piece_twice() -> None:
    control = Control()
    for node in "abcd":
        control.join(node, size=60 * PIECE)
    for node in "abcd":
        control.ask(node, 60)
    for _ in range(30):
        for node in "abcd":
            control.verified(node, *sorted(control.leased(node))[:1])
        control.wait(0.1)
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    assert view.held == PieceSet.full(60)
    assert view.origin_bytes == 60 * PIECE
    shares = [member.bytes_origin for member in view.members]
    assert max(shares) - min(shares) <= 6 * PIECE


def test_the_first_to_ask_does_not_take_what_those_after_it_could_read() -> None:
    control = Control()
    for node in "abcdefgh":
        control.join(node, size=500 * PIECE)
        control.ask(node, 500)
        assert len(control.leased(node)) <= 2  # one, and one that follows
    control.verified("a", *sorted(control.leased("a"))[:1])
    assert control.active() == 9
    control.wait(0.1)
    assert control.active() == 16


@pytest.mark.parametrize(("nodes", "each"), [("abc", 5), ("abcdef", 2), ("abcdefghijkl", 1)])
def test_all_nodes_read_on_as_many_streams(nodes: str, each: int) -> None:
    control = Control(limits(target_streams=16))
    for node in nodes:
        control.join(node, size=900 * PIECE)
        control.ask(node, 900)
    for _ in range(8):
        for node in nodes:
            control.verified(node, *sorted(control.leased(node))[:1])
        control.wait(0.1)
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    active = [lease.node for lease in view.leases if not lease.after]
    assert {node: active.count(node) for node in nodes} == dict.fromkeys(nodes, each)


def test_the_next_lease_is_there_before_the_first_ends() -> None:
    control = Control()
    control.join("a")
    control.ask("a")
    granted = control.heard("a", m.LeaseGranted)
    first, following = granted[0], granted[-1]
    assert isinstance(first, m.LeaseGranted) and isinstance(following, m.LeaseGranted)
    assert first.after == 0
    assert following.after in {lease.lease for lease in granted}  # type: ignore[union-attr]


def test_the_streams_of_an_origin_are_never_exceeded_and_freed_ones_go_to_those_who_wait() -> None:
    control = Control(limits(streams=2, target_streams=2))
    for node in "abc":
        control.join(node)
        control.ask(node)
    assert control.active() == 2
    waiting = next(node for node in "abc" if not control.leased(node))
    for _ in range(4):
        for node in "abc":
            control.verified(node, *control.leased(node))
            assert control.active() <= 2
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    assert {member.node: member.bytes_origin for member in view.members}[waiting] > 0


def test_the_bytes_per_second_of_an_origin_are_never_exceeded() -> None:
    control = Control(limits(rate=2.0 * PIECE))
    control.join("a", size=100 * PIECE)
    control.ask("a", 100)
    granted = 0
    for step in range(40):
        granted += sum(lease.count for lease in control.heard("a", m.LeaseGranted))  # type: ignore[attr-defined]
        assert granted <= 2 * (1 + step * 0.25)
        control.verified("a", *control.leased("a"))
        control.wait(0.25)
    assert granted >= 18  # and used


def test_a_piece_larger_than_a_seconds_worth_waits_for_a_full_bucket() -> None:
    control = Control(limits(rate=PIECE / 2))
    control.join("a")
    control.ask("a")
    assert control.leased("a") == {0}
    control.verified("a", 0)
    control.wait(1.0)
    assert not control.leased("a")
    control.wait(2.0)
    assert control.leased("a") == {1}


def test_serving_goes_before_prefetch() -> None:
    control = Control(limits(streams=1, target_streams=1))
    control.join("a")
    control.join("prefetch", task=digest(2), priority=m.Priority.PREFETCH)
    control.join("serving", task=digest(3), priority=m.Priority.SERVING)
    control.ask("a")
    control.ask("prefetch", task=digest(2))
    control.ask("serving", task=digest(3))
    control.say("a", m.LeaveTasks((TASK,)))
    assert control.heard("serving", m.LeaseGranted)
    assert not control.heard("prefetch", m.LeaseGranted)


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
    for node in "ab":
        control.join(node, size=PIECE)
        control.ask(node, 1)
    holder = "a" if control.leased("a") else "b"
    for _ in range(6):
        control.report(holder)
        control.wait(0.9)
    assert control.heard(holder, m.LeaseRevoked)
    control.wait(0.1)
    assert control.leased("ab".replace(holder, "")) == {0}


def test_a_node_that_says_nothing_for_a_while_is_not_taken_to_stand_still() -> None:
    """Its machine may be busy: what it reads meanwhile would be read twice."""
    control = Control()
    for node in "ab":
        control.join(node, size=PIECE)
        control.ask(node, 1)
    holder = "a" if control.leased("a") else "b"
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
    for node in "ab":
        control.join(node, size=PIECE)
        control.ask(node, 1)
    holder = "a" if control.leased("a") else "b"
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


def test_held_pieces_are_not_leased() -> None:
    control = Control()
    digests = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in range(10))
    control.join("seed", have=PieceSet.full(10).to_bytes(), digests=digests, seed_only=True)
    control.join("a")
    control.ask("a")
    control.wait(5.0)
    assert not control.heard("a", m.LeaseGranted)
    assert control.heard("a", m.PieceDigests) == [m.PieceDigests(TASK, digests)]


def test_pieces_whose_holder_tells_no_digest_are_leased_in_the_end() -> None:
    control = Control()
    control.join("seed", have=PieceSet.full(10).to_bytes(), seed_only=True)
    control.join("a")
    control.ask("a")
    control.wait(1.0)
    assert not control.leased("a")
    control.wait(1.5)
    assert control.leased("a")


def test_after_a_restart_tasks_with_partial_content_wait_for_the_others() -> None:
    control = Control(replace(Phase1Config(), restart_grace=2.0))
    told = (m.PieceDigest(0, blake3_of(0)),)
    control.join("a", have=b"\x01", digests=told)
    control.ask("a")
    control.join("fresh", task=digest(7))
    control.ask("fresh", task=digest(7))
    assert control.heard("fresh", m.LeaseGranted)
    control.wait(1.0)
    assert not control.leased("a")
    rest = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in range(1, 9))
    control.join("b", have=PieceSet.span(1, 8).to_bytes(), digests=rest)
    control.ask("b")
    control.wait(1.1)
    assert control.leased("a") | control.leased("b") == {9}


def test_a_node_that_serves_slowly_reads_less() -> None:
    control = Control(limits(target_streams=4))
    for node in "abcd":
        control.join(node, size=400 * PIECE)
    for node in "abcd":
        control.ask(node, 400)
    for step in range(60):
        for node in "abcd":
            if leased := sorted(control.leased(node)):
                control.verified(node, leased[0])
        reports = tuple(m.ParentReport(node, 1000 if node != "d" else 100, 1.0) for node in "abcd")
        control.report("a", m.TaskReport(TASK, parents=reports))
        control.wait(0.25)
        del step
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    read = {member.node: member.bytes_origin for member in view.members}
    assert read["d"] < read["a"] / 2


@pytest.mark.parametrize("pieces", [0, -3])
def test_a_request_can_be_withdrawn(pieces: int) -> None:
    control = Control(limits(streams=1, target_streams=1))
    control.join("a", size=2 * PIECE)
    control.join("b", size=2 * PIECE)
    control.ask("a", 1)
    control.ask("b", 1)
    control.ask("b", pieces)
    control.verified("a", 0)
    assert not control.heard("b", m.LeaseGranted)


def test_small_shards_use_more_streams_but_no_more_than_a_node_can_read() -> None:
    control = Control(limits(streams=64, target_streams=2, node_streams=8))
    for number in range(40):
        for node in "abc":
            control.join(node, task=digest(number), size=1000)
            control.ask(node, 1, digest(number))
    assert control.active() == 24


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


def test_a_slow_reader_gets_none_of_the_last_pieces_unless_nobody_else_reads() -> None:
    control = Control(limits(target_streams=4, node_streams=1))
    nodes = {"a": 0.1, "b": 0.1, "c": 0.1, "slow": 1.0}  # seconds per piece
    due = dict(nodes)
    for node in nodes:
        control.join(node, size=120 * PIECE)
        control.ask(node, 120)
    while max(due.values()) < 60 and (free := 120 - len(held(control))) > 1:
        control.wait(0.05)
        for node, pace in nodes.items():
            if control.now >= due[node] and (mine := sorted(control.leased(node))):
                control.verified(node, mine[0])
                due[node] = control.now + pace
        assert free <= 60 or control.leased("slow")
    granted = control.heard("slow", m.LeaseGranted)
    assert granted and max(lease.start + lease.count for lease in granted) <= 100  # type: ignore[attr-defined]
    for node in "abc":
        control.say(node, m.LeaveTasks((TASK,)))
    while len(held(control)) < 120:
        control.wait(1.0)
        control.verified("slow", *sorted(control.leased("slow")))


def test_a_slow_reader_holds_up_nobody() -> None:
    """What the others read ahead of it does not count against them: the origin's streams stay in use."""
    control = Control(limits(target_streams=16))
    nodes = {"a": 0.1, "b": 0.1, "c": 0.1, "slow": 2.0}  # seconds per piece, one stream at a time
    due = dict(nodes)
    for node in nodes:
        control.join(node, size=900 * PIECE)
        control.ask(node, 900)
    while control.now < 10:
        control.wait(0.05)
        for node, pace in nodes.items():
            if control.now >= due[node] and (mine := sorted(control.leased(node))):
                control.verified(node, mine[0])
                due[node] = control.now + pace
        assert control.active() >= 12 or control.now < 1
