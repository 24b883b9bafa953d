"""Joining, parents, digests, resets, load and views."""

from __future__ import annotations

import random

import pytest

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import Phase1, Phase1Config
from modeldist.scheduler.pieces import PieceSet, piece_size_for
from tests.unit.scheduler.phase1_control import PIECE, TASK, Control
from tests.unit.scheduler.scheduler_world import blake3_of, digest


def joined_racks(racks: dict[str, str], config: Phase1Config | None = None, zone: str = "") -> tuple[Control, Phase1]:
    control = Control(config)
    for node, rack in racks.items():
        control.take(control.phase1.node_joined(node, f"{node}:1", m.Location(rack, zone), control.now))
    for node in racks:
        control.join(node)
    return control, control.phase1


def parents_of(phase1: Phase1, node: str, task: m.Digest = TASK) -> tuple[str, ...]:
    view = phase1.task(task, 0.0)
    assert view is not None
    return next(member.parents for member in view.members if member.node == node)


def test_the_first_to_join_sets_how_the_shard_is_cut() -> None:
    control = Control()
    control.join("a")
    control.say("a", m.JoinTasks((m.TaskJoin(digest(2), 5 << 20, "origin"),)))
    control.say("a", m.JoinTasks((m.TaskJoin(digest(3), 5 << 20, "origin", piece_size=1),)))
    told = control.heard("a", m.TaskJoined)
    assert [joined.piece_size for joined in told] == [PIECE, piece_size_for(5 << 20), piece_size_for(5 << 20)]  # type: ignore[attr-defined]


def test_a_partial_file_of_another_cut_counts_for_nothing_but_a_complete_one_for_all() -> None:
    control = Control()
    control.join("a")
    control.take(control.phase1.node_joined("b", "b:1", m.Location(), 0.0))
    control.say("b", m.JoinTasks((m.TaskJoin(TASK, 10 * PIECE, "origin", b"\x01", piece_size=5 * PIECE),)))
    control.take(control.phase1.node_joined("c", "c:1", m.Location(), 0.0))
    control.say("c", m.JoinTasks((m.TaskJoin(TASK, 10 * PIECE, "origin", b"\x03", piece_size=5 * PIECE),)))
    view = control.phase1.task(TASK, 0.0)
    assert view is not None
    assert [(member.node, len(member.have)) for member in view.members] == [("a", 0), ("b", 0), ("c", 10)]
    assert view.holders == 1


def test_a_task_of_another_size_is_not_let_in() -> None:
    control = Control()
    control.join("a")
    control.join("liar", size=11 * PIECE)
    assert not control.heard("liar", m.TaskJoined)
    assert control.heard("liar", m.TaskRefused) == [m.TaskRefused(TASK, 10 * PIECE)]


def test_small_swarms_know_everybody() -> None:
    control, phase1 = joined_racks(dict.fromkeys("abcdefgh", ""))
    control.wait(0.3)
    for node in "abcdefgh":
        assert set(parents_of(phase1, node)) == set("abcdefgh") - {node}
    (told, *_) = control.heard("h", m.Parents)
    assert isinstance(told, m.Parents)
    assert told.parents[0].address.endswith(":1") and told.share == (7, 8)


def test_rack_mates_first_and_a_few_far_ones() -> None:
    racks = {f"n{index}": f"r{index // 20}" for index in range(80)}
    control, phase1 = joined_racks(racks)
    control.wait(0.3)
    for node in ("n0", "n25", "n79"):
        parents = parents_of(phase1, node)
        near = [parent for parent in parents if racks[parent] == racks[node]]
        assert len(parents) == 16
        assert 12 <= len(near) <= 13


def test_every_member_gets_children_and_keeps_some() -> None:
    racks = {f"n{index}": "" for index in range(60)}
    control, phase1 = joined_racks(racks)
    for _ in range(4):
        control.wait(20.0)
    view = phase1.task(TASK, control.now)
    assert view is not None
    assert all(member.children for member in view.members)
    assert all(len(member.parents) <= 16 for member in view.members)


def test_rack_mates_share_what_they_bring_into_the_rack() -> None:
    control, _ = joined_racks({"a": "r", "b": "r", "c": "s"})
    control.wait(0.3)
    shares = {node: control.heard(node, m.Parents)[-1].share for node in "abc"}  # type: ignore[attr-defined]
    assert shares == {"a": (0, 2), "b": (1, 2), "c": (0, 0)}


def test_nodes_of_unknown_racks_share_while_they_are_few() -> None:
    config = Phase1Config(restart_grace=0.0, stripe_from=1000)
    for count, most in ((5, 5), (65, 0)):
        control, _ = joined_racks({f"n{index}": "" for index in range(count)}, config)
        control.wait(0.3)
        shares = [control.heard(f"n{index}", m.Parents)[-1].share for index in range(count)]  # type: ignore[attr-defined]
        assert {share[1] for share in shares} == {most}
        assert len(set(shares)) == max(1, most)


def test_distance_is_told() -> None:
    control = Control()
    places = {"a": ("r", "z"), "b": ("r", "z"), "c": ("s", "z"), "d": ("t", "y")}
    for node, (rack, zone) in places.items():
        control.take(control.phase1.node_joined(node, f"{node}:1", m.Location(rack, zone), 0.0))
        control.join(node)
    control.wait(0.3)
    told = control.heard("a", m.Parents)[-1]
    assert isinstance(told, m.Parents)
    assert {parent.node: parent.distance for parent in told.parents} == {"b": 0, "c": 1, "d": 2}


def test_a_node_without_an_address_is_nobodys_parent() -> None:
    control = Control()
    control.take(control.phase1.node_joined("silent", "", m.Location(), 0.0))
    control.join("silent")
    control.join("a")
    control.wait(0.3)
    assert parents_of(control.phase1, "a") == ()
    assert parents_of(control.phase1, "silent") == ("a",)


def test_parents_that_fail_their_children_are_passed_over() -> None:
    control, phase1 = joined_racks({f"n{index}": "" for index in range(30)})
    bad = tuple(m.ParentReport("n3", failures=5) for _ in range(3))
    control.report("n1", m.TaskReport(TASK, parents=bad))
    control.join("late")
    assert "n3" not in parents_of(phase1, "late")
    (view,) = [view for view in phase1.nodes(control.now) if view.node == "n3"]
    assert view.failures > 10


def test_the_only_one_that_has_anything_is_a_parent_however_it_failed() -> None:
    """Of another model, before its failures are forgotten: else whoever wants it would wait for half a minute."""
    control, phase1 = joined_racks({"damaged": "", "a": ""})
    control.report("a", m.TaskReport(TASK, parents=(m.ParentReport("damaged", failures=100),)))
    other = digest(7)
    control.join("damaged", task=other, have=PieceSet.full(10).to_bytes())
    control.join("a", task=other)
    assert parents_of(phase1, "a", other) == ("damaged",)


def test_lists_lose_nodes_that_leave_and_complete_nodes_need_none() -> None:
    control, phase1 = joined_racks(dict.fromkeys("abc", ""))
    control.wait(0.3)
    control.take(phase1.node_left("b", control.now))
    control.wait(0.3)
    assert parents_of(phase1, "a") == ("c",)
    control.report("a", m.TaskReport(TASK, have=PieceSet.full(10).to_bytes()))
    assert parents_of(phase1, "a") == ()
    view = phase1.task(TASK, control.now)
    assert view is not None
    assert not view.members[0].wants


def test_digests_of_pieces_read_are_published_in_batches() -> None:
    control, _ = joined_racks(dict.fromkeys("ab", ""))
    control.ask("a")
    control.wait(0.1)
    control.verified("a", 0)
    control.verified("a", 1)
    control.verified("a", 2)
    assert [len(told.digests) for told in control.heard("b", m.PieceDigests)] == [1]  # type: ignore[attr-defined]
    control.wait(0.1)
    assert [len(told.digests) for told in control.heard("b", m.PieceDigests)] == [2]  # type: ignore[attr-defined]


def test_a_digest_of_a_reader_replaces_one_brought_along() -> None:
    control = Control()
    wrong, right = m.PieceDigest(0, b"w" * 32), m.PieceDigest(0, b"r" * 32)
    control.join("liar", have=b"\x01", digests=(wrong, m.PieceDigest(3, b"short"), m.PieceDigest(-1, b"n" * 32)))
    control.join("a")
    assert control.heard("a", m.PieceDigests) == [m.PieceDigests(TASK, (wrong,))]
    control.take(control.phase1.node_left("liar", 0.0))
    control.ask("a")
    control.wait(0.1)
    control.report("a", m.TaskReport(TASK, verified=(right, m.PieceDigest(99, b"x" * 32))))
    control.wait(0.1)
    assert control.heard("a", m.PieceDigests)[-1] == m.PieceDigests(TASK, (right,))


def test_shards_of_one_piece_need_no_digests() -> None:
    control = Control()
    control.join("a", size=50)
    control.join("b", size=50)
    control.ask("a", 1)
    control.report("a", m.TaskReport(TASK, have=b"\x01"))
    control.wait(5.0)
    assert not control.heard("b", m.PieceDigests)
    view = control.phase1.task(TASK, control.now)
    assert view is not None and view.origin_bytes == 50 and not view.leases


def complete(control: Control, *nodes: str) -> None:
    for node in nodes:
        control.report(node, m.TaskReport(TASK, have=PieceSet.full(10).to_bytes()))


def test_a_rejected_shard_starts_everybody_again_once() -> None:
    control, phase1 = joined_racks(dict.fromkeys("abc", ""))
    for node in "abc":
        control.ask(node)
    control.verified("a", *range(10))
    control.now += 5
    control.say("b", m.ShardRejected(TASK))
    control.say("c", m.ShardRejected(TASK))
    for node in "abc":
        assert len(control.heard(node, m.TaskReset)) == 1
    complete(control, "a")  # sent before it heard of the reset
    view = phase1.task(TASK, control.now)
    assert view is not None
    assert (view.resets, view.digests_known, len(view.held)) == (1, 0, 0)
    for node in "abc":
        control.heard(node, m.LeaseGranted)
        control.ask(node)
    assert control.heard("b", m.LeaseGranted), "who found out reads everything, as nobody else can be believed"
    assert not control.heard("a", m.LeaseGranted) and not control.heard("c", m.LeaseGranted)


def rejected_by_b() -> tuple[Control, Phase1]:
    control, phase1 = joined_racks(dict.fromkeys("abc", ""))
    control.verified("a", *range(10))
    control.now += 5
    control.say("b", m.ShardRejected(TASK))
    for node in "abc":
        control.ask(node)
        control.heard(node, m.PieceDigests)
        assert bool(control.heard(node, m.LeaseGranted)) == (node == "b")
    return control, phase1


def test_after_a_rejection_only_the_lone_reader_is_believed() -> None:
    control, phase1 = rejected_by_b()
    digests = tuple(m.PieceDigest(piece, b"a lie".ljust(32)) for piece in range(10))
    control.join("newcomer", have=PieceSet.full(9).to_bytes(), digests=digests)
    control.report("a", m.TaskReport(TASK, have=PieceSet.full(10).to_bytes(), verified=digests))
    view = phase1.task(TASK, control.now)
    assert view is not None and view.digests_known == 0


def test_a_lone_reader_that_leaves_or_does_not_read_is_not_waited_for() -> None:
    control, _ = rejected_by_b()
    control.take(control.phase1.node_left("b", control.now))
    assert control.heard("a", m.LeaseGranted) or control.heard("c", m.LeaseGranted)
    control, _ = rejected_by_b()
    control.wait(40.0)
    assert control.heard("a", m.LeaseGranted) or control.heard("c", m.LeaseGranted)
    control, _ = rejected_by_b()
    control.ask("b", 0)
    control.wait(40.0)
    assert control.heard("a", m.LeaseGranted) or control.heard("c", m.LeaseGranted)


def test_a_node_that_keeps_rejecting_is_reset_alone() -> None:
    control, phase1 = joined_racks(dict.fromkeys("ab", ""))
    control.now += 5
    for _ in range(3):
        control.say("a", m.ShardRejected(TASK))
        control.now += 5
    assert len(control.heard("a", m.TaskReset)) == 3
    assert len(control.heard("b", m.TaskReset)) == 1
    view = phase1.task(TASK, control.now)
    assert view is not None and view.resets == 1


def test_a_proven_copy_outweighs_a_rejection() -> None:
    control = Control()
    digests = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in range(10))
    control.join("seed", have=PieceSet.full(10).to_bytes(), digests=digests, seed_only=True)
    control.join("a")
    complete(control, "a")
    control.heard("a", m.PieceDigests)
    control.now += 5
    control.say("a", m.ShardRejected(TASK))
    assert control.heard("a", m.TaskReset) and not control.heard("seed", m.TaskReset)
    assert control.heard("a", m.PieceDigests) == [m.PieceDigests(TASK, digests)]
    control.wait(0.3)
    assert parents_of(control.phase1, "a") == ("seed",)


def test_old_load_is_unknown_load_and_overtaken_reports_do_not_count() -> None:
    control, phase1 = joined_racks(dict.fromkeys("ab", ""))
    control.say("a", m.Report(5, m.Load(nic_speed=1e9, queue=3)))
    control.say("a", m.Report(4, m.Load(queue=9)))
    a, b = phase1.nodes(control.now)
    assert a.load == m.Load(nic_speed=1e9, queue=3)
    assert (b.load, b.load_age) == (None, None)
    a, _ = phase1.nodes(control.now + 10)
    assert (a.load, a.load_age) == (None, 10.0)


def test_what_children_measure_takes_the_place_of_the_reservation() -> None:
    control, phase1 = joined_racks(dict.fromkeys("ab", ""))
    control.wait(0.3)
    control.say("b", m.Report(1, m.Load(nic_speed=1e6)))
    (b,) = [view for view in phase1.nodes(control.now) if view.node == "b"]
    assert b.children == 1 and b.utilisation == 1 / 16
    control.now += 1
    control.say("a", m.Report(1, tasks=(m.TaskReport(TASK, parents=(m.ParentReport("b", 5000, 0.5),)),)))
    control.say("b", m.Report(2, m.Load(nic_speed=1e6)))
    (b,) = [view for view in phase1.nodes(control.now) if view.node == "b"]
    assert b.goodput == 10000.0
    assert b.utilisation < 1 / 16


def test_short_reports_do_not_make_a_parent_look_fast() -> None:
    """A piece of 1,000 bytes takes a second, reports come every 20 ms: it counts whole in one of fifty."""
    control, phase1 = joined_racks(dict.fromkeys("ab", ""))
    control.wait(0.3)
    for number in range(1, 1000):
        control.now += 0.02
        arrived = 1000 if number % 50 == 0 else 0
        report = m.TaskReport(TASK, parents=(m.ParentReport("b", arrived, 0.02),))
        control.say("a", m.Report(number, m.Load(), (report,)))
    control.say("b", m.Report(1, m.Load(nic_speed=1e6)))
    (b,) = [view for view in phase1.nodes(control.now) if view.node == "b"]
    assert b.goodput == pytest.approx(1000, rel=0.3)
    assert b.utilisation == pytest.approx(1000 / 1e6, rel=0.3)


def test_what_strangers_say_changes_nothing() -> None:
    control = Control()
    control.say("nobody", m.LeaseRequest(TASK, 5))
    control.take(control.phase1.node_left("nobody", 0.0))
    control.join("a")
    control.told.clear()
    for event in (
        m.LeaveTasks((digest(9),)),
        m.LeaseRequest(digest(9), 1),
        m.LeaseFailed(digest(9), 1, b"", ""),
        m.ShardRejected(digest(9)),
        m.Report(1, tasks=(m.TaskReport(digest(9)),)),
    ):
        control.say("a", event)
    assert control.told == []
    assert control.phase1.task(digest(9), 0.0) is None


def test_a_task_goes_with_its_last_member_and_a_node_may_join_again() -> None:
    control = Control()
    control.join("a")
    control.join("a", have=b"\x01", digests=(m.PieceDigest(0, blake3_of(0)),))
    view = control.phase1.task(TASK, 0.0)
    assert view is not None and len(view.held) == 1
    control.say("a", m.LeaveTasks((TASK,)))
    assert control.phase1.tasks() == ()
    control.take(control.phase1.node_joined("a", "a:2", m.Location(), 0.0))
    assert [node.address for node in control.phase1.nodes(0.0)] == ["a:2"]


def test_pieces_a_node_lost_are_not_held_any_more() -> None:
    control = Control()
    control.join("a", have=b"\x03", digests=tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in range(2)))
    control.report("a", m.TaskReport(TASK, have=b"\x01"))
    view = control.phase1.task(TASK, 0.0)
    assert view is not None and list(view.held) == [0]


def test_the_same_seed_decides_the_same() -> None:
    def run() -> list[tuple[str, m.Instruction]]:
        phase1 = Phase1(Phase1Config(), random.Random(3))
        told = []
        for index in range(40):
            told += phase1.node_joined(f"n{index}", "x:1", m.Location(f"r{index % 3}"), 0.0)
            told += phase1.handle(f"n{index}", m.JoinTasks((m.TaskJoin(TASK, 5000, "o"),)), 0.0)
            told += phase1.handle(f"n{index}", m.LeaseRequest(TASK, 5), 0.0)
        return told + phase1.tick(1.0)

    assert run() == run()
