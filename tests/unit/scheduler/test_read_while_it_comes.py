"""What readers of arriving models wait for goes first: at parents, at the origin, before other shards."""

from __future__ import annotations

from modeldist.scheduler import messages as m
from modeldist.scheduler.alone import Alone
from modeldist.scheduler.messages import Priority
from modeldist.scheduler.phase2 import Phase2Config
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.phase1_control import TASK as SHARD
from tests.unit.scheduler.phase1_control import Control, limits
from tests.unit.scheduler.scheduler_world import digest
from tests.unit.scheduler.test_phase2_choice import PIECE, TASK, Child

OTHER = digest(2)
CONFIG = Phase2Config(origin_streams=2, read_ahead=8 * PIECE)


class Origin:
    """A child's origin, which is all its own: it grants what is asked and is read when the test says."""

    def __init__(self, child: Child, pieces: dict[p2.Digest, int]) -> None:
        self.child = child
        self.alone = Alone()
        self.requests: list[p2.RequestLease] = []
        self.leases: list[m.LeaseGranted] = []
        self.begun: list[p2.ReadLease] = []
        for task, count in pieces.items():
            self.alone.handle("a", m.JoinTasks((m.TaskJoin(task, count * PIECE, "origin", piece_size=PIECE),)), 0.0)

    def tell(self, event: p2.Event) -> None:
        events = [event]
        while events:
            for said in self.child.tell(events.pop(0)):
                if isinstance(said, p2.ReadLease):
                    self.begun.append(said)
                elif isinstance(said, p2.RequestLease):
                    self.requests.append(said)
                    asked = m.LeaseRequest(said.task, said.pieces, first=said.first)
                    for _, lease in self.alone.handle("a", asked, self.child.now):
                        assert isinstance(lease, m.LeaseGranted)
                        self.leases.append(lease)
                        events.append(p2.LeaseArrived(lease.task, lease.lease, lease.start, lease.count))

    def read_one(self) -> list[tuple[p2.Digest, int]]:
        """All pieces of the lease that was begun first."""
        lease = self.begun.pop(0)
        pieces = range(lease.start, lease.start + lease.count)
        for piece in pieces:
            self.child.now += 0.001
            self.tell(p2.PieceVerified(lease.task, piece))
        self.tell(p2.LeaseGone(lease.task, lease.lease))
        return [(lease.task, piece) for piece in pieces]

    def read_all(self) -> list[tuple[p2.Digest, int]]:
        read = []
        while self.begun:
            read += self.read_one()
        return read


def test_of_a_model_that_is_read_the_origin_is_asked_for_a_little_at_a_time() -> None:
    child = Child(CONFIG)
    origin = Origin(child, {TASK: 100, OTHER: 100})
    origin.tell(p2.Awaited((), (OTHER, TASK)))
    for task in (TASK, OTHER):
        child.task(100, task)  # known to nobody but the origin
        origin.tell(p2.TaskRejoined(task))
    assert sum(lease.count for lease in origin.leases) == 8
    assert {lease.task for lease in origin.leases} == {TASK}, "the other was not there yet"
    read = origin.read_all()
    assert sorted(read) == sorted((task, piece) for task in (TASK, OTHER) for piece in range(100))
    of_other = [place for place, (task, _) in enumerate(read) if task == OTHER]
    assert of_other[-1] <= 110, "the order of the shards is that of the reader"
    assert not child.phase2.leases(TASK)


def test_what_a_reader_waits_for_is_read_next_whatever_shard_it_is_of() -> None:
    child = Child(CONFIG)
    origin = Origin(child, {TASK: 100, OTHER: 100})
    origin.tell(p2.Awaited((), (TASK, OTHER)))
    for task in (TASK, OTHER):
        child.task(100, task)
        origin.tell(p2.TaskRejoined(task))
    order = (p2.Run(OTHER, 90, 3), p2.Run(TASK, 50, 2), p2.Run(OTHER, 7, 1))
    origin.tell(p2.Awaited(order, (TASK, OTHER)))
    read = origin.read_all()
    awaited = [(OTHER, 90), (OTHER, 91), (OTHER, 92), (TASK, 50), (TASK, 51), (OTHER, 7)]
    assert max(map(read.index, awaited)) <= 8 + len(awaited)
    places = [read.index(piece) for piece in awaited]
    assert places[0] < places[-1]
    assert len(read) == len(set(read)) == 200


def test_a_shard_that_somebody_else_reads_holds_up_no_other() -> None:
    child = Child(CONFIG)
    child.tell(p2.Awaited((), (TASK, OTHER)))
    for task in (TASK, OTHER):
        child.task(100, task)
    asked = {said.task for said in child.said if isinstance(said, p2.RequestLease)}
    assert asked == {TASK}
    for _ in range(4):
        child.tick(0.1)
    asked = {said.task for said in child.said if isinstance(said, p2.RequestLease)}
    assert asked == {TASK, OTHER}, "nothing of the first was granted"


def test_what_is_awaited_of_a_task_that_is_only_pulled_is_named_to_the_control_plane() -> None:
    child = Child()
    child.task(50)
    child.said.clear()
    child.tell(p2.Awaited((p2.Run(TASK, 30, 2),)))
    assert child.said == [p2.RequestLease(TASK, 50, PieceSet(), ((30, 2),))]
    child.tell(p2.Awaited((p2.Run(TASK, 30, 2),)))
    assert len(child.said) == 1, "it is known"


def test_alone_with_another_node_a_reader_gets_all_in_order_and_in_a_crowd_the_next_few() -> None:
    expected = [*range(20, 40), *range(20)]
    for share, in_order in (((0, 2), True), ((0, 9), False)):
        child = Child()
        child.task(40)
        child.tell(p2.Awaited((p2.Run(TASK, 20, 20), p2.Run(TASK, 0, 20))))
        child.parents("a", "b", share=share)
        child.has("a", *range(40))
        child.has("b", *range(40))
        while child.open:
            child.answer(child.open[0], 0.01)
        got = [said.piece for said in child.said if isinstance(said, p2.FetchFromPeer)]
        assert sorted(got) == sorted(expected)
        assert got[0] == 20
        assert (got == expected) is in_order


def test_the_class_of_a_task_falls_back_when_the_last_that_was_awaited_is_here() -> None:
    child = Child(Phase2Config(min_pieces_in_flight=1))
    child.task(10, TASK, Priority.PREFETCH)
    child.task(10, OTHER, Priority.PULL)
    child.tell(p2.Awaited((p2.Run(TASK, 4, 1),)))
    for task in (TASK, OTHER):
        child.parents("a", task=task)
        child.has("a", *range(10), task=task)
    first = child.open[0]
    assert (first.task, first.piece) == (TASK, 4)
    child.answer(first, 0.1)
    assert child.open[0].task == OTHER


def test_alone_a_request_for_some_is_granted_in_its_order_and_no_more() -> None:
    alone = Alone()
    alone.handle("a", m.JoinTasks((m.TaskJoin(TASK, 100 * PIECE, "origin", piece_size=PIECE),)), 0.0)
    asked = m.LeaseRequest(TASK, 6, first=((70, 2), (-5, 9), (20, 0), (10, 3)))
    told = [lease for _, lease in alone.handle("a", asked, 0.0) if isinstance(lease, m.LeaseGranted)]
    pieces = [piece for lease in told for piece in range(lease.start, lease.start + lease.count)]
    assert pieces == [70, 71, 10, 11, 12, 0]


def test_leases_begin_with_what_somebody_waits_for() -> None:
    control = Control(limits(target_streams=2))
    control.join("a", size=60 << 20)
    control.say("a", m.LeaseRequest(SHARD, 60, first=((40, 2), (1000, 5), (-1, 3), (20, 0))))
    assert min(control.leased("a")) == 40
    control.join("b", size=60 << 20)
    control.ask("b", 60)
    control.wait(0.2)
    control.verified("a", 40, 41)
    control.wait(0.2)
    granted = control.heard("b", m.LeaseGranted)
    assert granted
    assert not control.leased("b") & control.leased("a")


def test_other_nodes_read_first_what_somebody_waits_for_elsewhere() -> None:
    control = Control(limits(target_streams=4))
    control.join("a", size=60 << 20)
    control.join("b", size=60 << 20)
    control.say("a", m.LeaseRequest(SHARD, 60, first=((40, 8),)))
    control.ask("b", 60)
    assert control.leased("b") and min(control.leased("b")) >= 40


def test_a_node_on_which_somebody_waits_has_its_turn_first() -> None:
    control = Control(limits(streams=1, target_streams=1))
    for node in "abc":
        control.join(node, size=60 << 20)
    control.ask("a", 60)
    control.ask("b", 60)
    control.say("c", m.LeaseRequest(SHARD, 60, first=((50, 1),)))
    held = sorted(control.leased("a"))
    while control.leased("a"):
        control.verified("a", *sorted(control.leased("a"))[:1])
        if control.leased("c"):
            break
        control.wait(0.1)
    assert held[0] == 0
    assert 50 in control.leased("c")


def test_a_shard_that_hangs_leaves_a_stream_to_another_that_is_waited_for() -> None:
    child = Child(CONFIG)
    origin = Origin(child, {TASK: 100, OTHER: 100})
    origin.tell(p2.Awaited((), (TASK, OTHER)))
    for task in (TASK, OTHER):
        child.task(100, task)
        origin.tell(p2.TaskRejoined(task))
    hanging, origin.begun = origin.begun, []
    assert {lease.task for lease in hanging} == {TASK}
    assert len(hanging) == CONFIG.origin_streams
    origin.tell(p2.Awaited((p2.Run(OTHER, 50, 2),), (TASK, OTHER)))
    for _ in range(60):
        child.now += 0.1
        origin.tell(p2.Tick())
    assert len(origin.begun) == 1, "one stream more, not as many as one likes"
    read = origin.read_one()
    assert read == [(OTHER, 50), (OTHER, 51)]
    origin.tell(p2.Awaited((p2.Run(OTHER, 70, 1),), (TASK, OTHER)))
    read += origin.read_all()
    assert read.index((OTHER, 70)) <= 8 + len(read[:2]), "behind what was asked for when the wish came"
    assert sorted(read) == [(OTHER, piece) for piece in range(100)]
    assert sum(lease.count for lease in origin.leases if lease.task == TASK) == 8, "no more of what hangs"
    origin.begun += hanging
    assert sorted(origin.read_all()) == [(TASK, piece) for piece in range(100)]


def test_a_node_whose_streams_hang_gets_one_for_another_shard_that_is_waited_for() -> None:
    control = Control(limits(node_streams=2, ramp=2))
    for task in (SHARD, OTHER):
        control.join("a", task, size=60 << 20)
    control.ask("a", 60, SHARD)
    control.ask("a", 60, OTHER)
    assert {lease.task for lease in control.heard("a", m.LeaseGranted)} == {SHARD}
    control.say("a", m.LeaseRequest(OTHER, 60, first=((30, 2),)))
    control.wait(0.5)
    (lease,) = control.heard("a", m.LeaseGranted)
    assert (lease.task, lease.start) == (OTHER, 30)
    assert control.active() == 3


def test_the_origins_own_limit_is_never_exceeded_for_who_waits() -> None:
    control = Control(limits(streams=2, node_streams=2, ramp=2))
    for task in (SHARD, OTHER):
        control.join("a", task, size=60 << 20)
    control.ask("a", 60, SHARD)
    control.say("a", m.LeaseRequest(OTHER, 2, first=((30, 2),)))
    control.wait(0.5)
    assert control.active() == 2
