"""Origin leases: one reader per piece, fair, within the origin's budget."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import Phase1Config
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.phase1_control import PIECE, TASK, Control, held, limits
from tests.unit.scheduler.scheduler_world import blake3_of, digest


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
    control = Control(limits())
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


@pytest.mark.parametrize(("streams", "most"), [(64, 7), (5, 5)])
def test_a_stream_at_its_last_piece_counts_half(streams: int, most: int) -> None:
    """Those who wait begin before it is reported that others have ended, within the origin's limit."""
    control = Control(limits(streams=streams, target_streams=4))
    nodes = [f"n{index}" for index in range(20)]
    for node in nodes:
        control.join(node, size=4000 * PIECE)
        control.ask(node, 4000)
    active = []
    for _ in range(120):
        control.wait(0.01)
        for node in nodes:
            if mine := sorted(control.leased(node)):
                control.verified(node, mine[0])
        active.append(control.active())
    assert max(active[:10]) == max(active) == most  # of one piece each, as the nodes' rates are not known
    assert min(active[20:]) == 4  # of several


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


def test_held_pieces_are_not_leased() -> None:
    control = Control()
    digests = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in range(10))
    control.join("seed", have=PieceSet.full(10).to_bytes(), digests=digests, seed_only=True)
    control.join("a")
    control.ask("a")
    control.wait(5.0)
    assert not control.heard("a", m.LeaseGranted)
    assert control.heard("a", m.PieceDigests) == [m.PieceDigests(TASK, digests)]


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


def read_on(control: Control, nodes: dict[str, float], due: dict[str, float]) -> None:
    """A moment passes, in which those whose next piece is due have read it. `nodes`: seconds per piece."""
    control.wait(0.05)
    for node, pace in nodes.items():
        if control.now >= due[node] and (mine := sorted(control.leased(node))):
            control.verified(node, mine[0])
            due[node] = control.now + pace


def test_a_slow_reader_gets_none_of_the_last_pieces_unless_nobody_else_reads() -> None:
    control = Control(limits(target_streams=4, node_streams=1))
    nodes = {"a": 0.1, "b": 0.1, "c": 0.1, "slow": 1.0}  # seconds per piece
    due = dict(nodes)
    for node in nodes:
        control.join(node, size=120 * PIECE)
        control.ask(node, 120)
    while max(due.values()) < 60 and (free := 120 - len(held(control))) > 1:
        read_on(control, nodes, due)
        assert free <= 60 or control.leased("slow")
    granted = control.heard("slow", m.LeaseGranted)
    assert granted and max(lease.start + lease.count for lease in granted) <= 100  # type: ignore[attr-defined]
    for node in "abc":
        control.say(node, m.LeaveTasks((TASK,)))
    while len(held(control)) < 120:
        control.wait(1.0)
        control.verified("slow", *sorted(control.leased("slow")))


def test_a_slow_reader_is_granted_nothing_behind_what_it_still_reads_near_the_end() -> None:
    """Or the others would have read all, and wait for it."""
    control = Control(limits(target_streams=4, node_streams=1))
    nodes = {"a": 0.1, "b": 0.1, "c": 0.1, "slow": 2.0}  # seconds per piece
    due = dict(nodes)
    for node in nodes:
        control.join(node, size=400 * PIECE)
        control.ask(node, 400)
    ahead = 0
    while control.leased("a") or control.leased("b") or control.leased("c"):
        read_on(control, nodes, due)
        ahead = max(ahead, len(control.leased("slow")))
    assert ahead >= 2
    assert not control.leased("slow")


def test_a_slow_reader_holds_up_nobody() -> None:
    """What the others read ahead of it does not count against them: the origin's streams stay in use."""
    control = Control(limits(target_streams=16))
    nodes = {"a": 0.1, "b": 0.1, "c": 0.1, "slow": 2.0}  # seconds per piece, one stream at a time
    due = dict(nodes)
    for node in nodes:
        control.join(node, size=900 * PIECE)
        control.ask(node, 900)
    while control.now < 10:
        read_on(control, nodes, due)
        assert control.active() >= 12 or control.now < 1


def test_no_lease_takes_a_fast_reader_far_ahead_of_the_others() -> None:
    """It would have more to pass on than the others while they have nothing to send."""
    control = Control(limits(target_streams=16))
    nodes = {"a": 0.5, "b": 0.5, "c": 0.5, "fast": 0.05}  # seconds per piece
    due, granted = dict(nodes), dict.fromkeys(nodes, 0)
    for node in nodes:
        control.join(node, size=900 * PIECE)
        control.ask(node, 900)
    while control.now < 10:
        read_on(control, nodes, due)
        for node in nodes:
            for lease in control.heard(node, m.LeaseGranted):
                assert isinstance(lease, m.LeaseGranted)
                granted[node] += lease.count
                assert lease.count == 1 or granted[node] <= statistics.median(granted.values()) + 4
    assert granted["fast"] > granted["a"]
