"""What phase 2 asks of whom: earliest finish, windows, priorities, demand, shares of a rack."""

from __future__ import annotations

import random
from collections import Counter

from modeldist.scheduler.messages import Parent, Priority
from modeldist.scheduler.phase2 import Phase2, Phase2Config
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceLayout, PieceSet
from tests.unit.scheduler.scheduler_world import digest

TASK = digest(1)
PIECE = 1000


class Child:
    """A phase 2 whose parents hold what the test says and answer when the test says."""

    def __init__(self, config: Phase2Config | None = None, seed: int = 1) -> None:
        self.phase2 = Phase2(config or Phase2Config(), random.Random(seed))
        self.now = 0.0
        self.open: list[p2.FetchFromPeer] = []
        self.said: list[p2.Instruction] = []

    def tell(self, event: p2.Event) -> list[p2.Instruction]:
        out = self.phase2.handle(event, self.now)
        self.said += out
        self.open += [instruction for instruction in out if isinstance(instruction, p2.FetchFromPeer)]
        return out

    def task(self, pieces: int, task: p2.Digest = TASK, priority: Priority = Priority.PULL, known: bool = True) -> None:
        layout = PieceLayout(pieces * PIECE, PIECE)
        self.tell(p2.TaskAdded(task, layout, PieceSet(), priority))
        if known:
            self.tell(p2.DigestsKnown(task, layout.all))

    def parents(self, *nodes: str, task: p2.Digest = TASK, far: str = "", share: tuple[int, int] = (0, 0)) -> None:
        listed = tuple(Parent(node, f"{node}:1", distance=2 if node in far.split() else 0) for node in nodes)
        for instruction in self.tell(p2.ParentsChanged(task, listed, share)):
            if isinstance(instruction, p2.Connect):
                self.tell(p2.ParentConnected(instruction.node))

    def has(self, node: str, *pieces: int, task: p2.Digest = TASK) -> None:
        self.tell(p2.ParentHas(task, node, PieceSet.of(pieces)))

    def answer(self, request: p2.FetchFromPeer, seconds: float = 0.0) -> list[p2.Instruction]:
        """The piece comes, `seconds` from now, and is right."""
        self.now += seconds
        self.open.remove(request)
        out = self.tell(p2.PieceFetched(request.task, request.piece, request.node, PIECE, seconds))
        return out + self.tell(p2.PieceVerified(request.task, request.piece))

    def end(self, request: p2.FetchFromPeer, event: p2.Event) -> None:
        self.open.remove(request)
        self.tell(event)

    def tick(self, seconds: float) -> list[p2.Instruction]:
        self.now += seconds
        return self.tell(p2.Tick())

    def asked(self, node: str) -> list[int]:
        return [request.piece for request in self.open if request.node == node]


def test_a_parent_not_measured_yet_gets_one_request() -> None:
    child = Child()
    child.task(10)
    child.parents("a", "b")
    child.has("a", *range(10))
    child.has("b", *range(10))
    assert [len(child.asked(node)) for node in "ab"] == [1, 1]


def test_the_faster_parent_gets_more() -> None:
    child = Child()
    child.task(200)
    child.parents("slow", "fast")
    child.has("slow", *range(200))
    child.has("fast", *range(200))
    got: Counter[str] = Counter()
    free = {"slow": 0.0, "fast": 0.0}
    pace = {"slow": 0.4, "fast": 0.1}
    while child.open:
        due = {node: max(free[node], 0.0) + pace[node] for node in free if child.asked(node)}
        node = min(due, key=lambda name: due[name])
        request = next(request for request in child.open if request.node == node)
        free[node] = due[node]
        child.answer(request, max(0.0, due[node] - child.now))
        got[node] += 1
    assert sum(got.values()) == 200
    assert 2.5 <= got["fast"] / got["slow"] <= 6


def test_bytes_in_flight_are_capped_over_all_and_per_parent() -> None:
    config = Phase2Config(max_in_flight=6 * PIECE, max_in_flight_per_parent=4 * PIECE, min_pieces_in_flight=20)
    child = Child(config)
    child.task(500)
    child.parents("a", "b", "c")
    for node in "abc":
        child.has(node, *range(500))
    for _ in range(300):
        child.answer(child.open[0], 0.0001)
        assert child.phase2.bytes_in_flight == PIECE * len(child.open) <= 6 * PIECE
        assert all(len(child.asked(node)) <= 4 for node in "abc")


def test_only_pieces_with_known_digests_are_fetched() -> None:
    child = Child()
    child.task(4, known=False)
    child.parents("a")
    child.has("a", *range(4))
    assert not child.open
    child.tell(p2.DigestsKnown(TASK, PieceSet.of((2,))))
    assert child.asked("a") == [2]


def test_a_shard_of_one_piece_needs_no_digest() -> None:
    child = Child()
    child.task(1, known=False)
    child.parents("a")
    child.has("a", 0)
    assert p2.TaskComplete(TASK) in child.answer(child.open[0])


def test_what_someone_waits_for_goes_first_in_its_order() -> None:
    child = Child()
    child.task(50)
    child.tell(p2.Awaited(tuple(p2.Run(TASK, piece, 1) for piece in (17, 3, 40))))
    child.parents("a")
    child.has("a", *range(50))
    order = []
    for _ in range(3):
        order.append(child.open[0].piece)
        child.answer(child.open[0], 0.5)
    assert order == [17, 3, 40]


def test_demand_lifts_a_prefetch_over_other_tasks() -> None:
    child = Child()
    child.task(20)
    child.task(20, digest(2), Priority.PREFETCH)
    child.tell(p2.Awaited((p2.Run(digest(2), 5, 1),)))
    child.parents("a")
    child.tell(p2.ParentHas(TASK, "a", PieceSet()))
    child.parents("a", task=digest(2))
    child.has("a", 5, task=digest(2))
    assert child.open[0].task == digest(2)


def test_tasks_share_by_priority_and_none_starves() -> None:
    child = Child(Phase2Config(weights=(16, 4, 1)))
    kinds = {digest(1): Priority.SERVING, digest(2): Priority.PULL, digest(3): Priority.PREFETCH}
    for task, priority in kinds.items():
        child.task(2000, task, priority)
        child.parents("a", task=task)
    for task in kinds:
        child.has("a", *range(2000), task=task)
    got: Counter[Priority] = Counter()
    for _ in range(420):
        request = child.open[0]
        got[kinds[request.task]] += 1
        child.answer(request, 0.01)
    assert got[Priority.SERVING] > 3 * got[Priority.PULL] > 9 * got[Priority.PREFETCH] > 0


def test_others_wait_for_all_pieces_where_not_all_have_the_same_parents() -> None:
    for nodes, awaited in ((3, False), (9, True)):
        child = Child()
        child.task(6)
        child.parents("a", "b", share=(0, nodes))
        child.has("a", *range(6))
        while child.open:
            assert child.open[0].awaited == awaited
            child.answer(child.open[0], 0.1)


def test_each_byte_crosses_the_racks_uplink_once() -> None:
    child = Child()
    child.task(6)
    child.parents("mate", "far", far="far", share=(1, 2))
    child.has("far", *range(6))
    while child.open:
        child.answer(child.open[0], 0.1)
    fetched = [said for said in child.said if isinstance(said, p2.FetchFromPeer)]
    assert {said.piece for said in fetched} == {1, 3, 5}
    assert all(said.awaited for said in fetched), "rack mates are to have them from here"
    child.has("mate", 0)
    assert child.asked("mate") == [0]
    assert not child.open[-1].awaited, "they can have it where this node has it from"
    child.answer(child.open[0], 0.1)
    # The mate that was to bring the others does not.
    child.tick(0.5)
    assert not child.open
    child.tick(1.0)
    assert set(child.asked("far")) <= {2, 4} and child.open


def test_a_thousand_tasks_are_cheap_to_look_through() -> None:
    child = Child()
    for number in range(1000):
        child.task(1, digest(number))
        child.parents("a", task=digest(number))
    for number in range(1000):
        child.has("a", 0, task=digest(number))
    completed = 0
    while child.open:
        completed += sum(isinstance(said, p2.TaskComplete) for said in child.answer(child.open[0], 0.001))
    assert completed == 1000


def test_slow_parents_send_different_children_different_pieces() -> None:
    firsts = set()
    for seed in range(8):
        child = Child(seed=seed)
        child.task(100)
        child.parents("fast", "slow")
        child.has("fast", *range(50, 52))
        child.has("slow", *range(50))
        while fast := [request for request in child.open if request.node == "fast"]:
            child.answer(fast[0], 0.01)
        child.answer(child.open[0], 3.0)
        (piece,) = child.asked("slow")
        firsts.add(piece)
    assert len(firsts) > 3


def with_a_slow_parent(share: tuple[int, int]) -> Child:
    """Its parents `slow` and `fast` were measured, and have answered what was asked of them."""
    child = Child()
    child.task(40)
    child.parents("fast", "slow", far="fast slow", share=share)
    child.has("fast", 38)
    child.has("slow", 39)
    child.answer(next(request for request in child.open if request.node == "fast"), 0.01)
    child.answer(child.open[0], 3.0)
    return child


def test_what_only_a_slow_parent_has_is_fetched_from_it_by_few_children_each_its_share_first() -> None:
    for index in range(4):
        child = with_a_slow_parent((index, 4))
        child.has("slow", *range(8))
        asked = []
        while child.open:
            asked.append(child.open[0].piece)
            child.answer(child.open[0], 0.1)
        nearest = [(piece - index) % 4 for piece in asked]
        assert nearest == [0, 0, 1, 1, 2, 2]  # not all: others would wait for the same pieces
        child.has("fast", 9, 10, 11)
        assert set(child.asked("fast")) <= {9, 10, 11} and child.open  # from others it takes what there is


def test_what_only_a_slow_parent_has_goes_before_what_others_have_too_and_is_told_on_at_once() -> None:
    child = with_a_slow_parent((1, 4))
    child.has("slow", 5)
    child.has("fast", *range(20, 38))
    while fast := [request for request in child.open if request.node == "fast"]:
        child.end(fast[0], p2.PieceBusy(TASK, fast[0].piece, "fast", 30.0))
    child.has("slow", *range(20, 38), 1)
    child.answer(child.open[0], 3.0)
    (request,) = child.open
    assert (request.piece, request.awaited) == (1, True)


def test_what_nobody_fetched_from_a_slow_parent_for_a_while_everybody_does() -> None:
    child = with_a_slow_parent((1, 4))
    child.has("slow", 0, 4)
    assert not child.open
    patience = Phase2Config().overdue
    child.tick(patience)
    assert not child.open
    child.tick(patience)
    assert set(child.asked("slow")) <= {0, 4} and child.open


def test_a_node_asks_for_no_more_than_its_download_limit_lets_come() -> None:
    child = Child(Phase2Config(download_rate=10 * PIECE))
    child.task(200)
    child.parents("a", "b")
    for node in "ab":
        child.has(node, *range(100))
    got = 0
    while child.now < 5.0:
        while child.open:
            child.answer(child.open[0])
            got += 1
        child.tick(0.1)
    assert 45 <= got <= 55
    # What the origin brings counts too.
    child.tell(p2.LeaseArrived(TASK, 1, 150, 50))
    for piece in range(150, 190):
        child.tell(p2.PieceVerified(TASK, piece))
    before, now = got, child.now
    while child.now < now + 6.0:
        while child.open:
            child.answer(child.open[0])
            got += 1
        child.tick(0.1)
    assert 15 <= got - before <= 25


def test_an_empty_shard_is_complete_at_once() -> None:
    child = Child()
    child.task(0)
    assert child.said.count(p2.TaskComplete(TASK)) == 1


def test_children_of_one_parent_get_different_pieces_of_what_only_it_has_to_the_end() -> None:
    """So that they have something to exchange, instead of all waiting for copies of the same piece."""
    for index in range(4):
        child = Child()
        child.task(200)
        child.parents("reader", "other", share=(index, 4))
        child.has("other", *range(180))
        while child.open:
            child.answer(child.open[0], 0.01)
        child.has("reader", *range(180, 200))
        assert child.asked("reader")
        assert all(piece % 4 == index for piece in child.asked("reader"))


def test_the_last_pieces_are_fetched_in_order() -> None:
    """What comes behind a gap can be hashed only when the gap is closed, and then everybody waits for it."""
    child = Child(Phase2Config(window=0.01))
    child.task(64)
    child.parents("a", "b")
    order: list[int] = []
    for node in "ab":
        child.has(node, *range(64))
    while child.open:
        request = child.open[0]
        order.append(request.piece)
        child.answer(request, 0.01)
    asked_before = 2 * 2  # while more than an eighth was missing
    assert len(order) == 64 and order[: -8 + asked_before] != sorted(order[: -8 + asked_before])
    assert order[-8 + asked_before :] == sorted(order[-8 + asked_before :])


def test_one_parent_that_is_much_faster_makes_no_other_slow() -> None:
    child = Child()
    child.task(40)
    child.parents("fast", "one", "other", share=(0, 4))
    for piece, (node, seconds) in enumerate((("fast", 0.01), ("one", 3.0), ("other", 3.0))):
        child.has(node, piece)
        child.answer(child.open[0], seconds)
    child.has("one", 11, 13)
    assert sorted(request.piece for request in child.open) == [11, 13]  # both at once, of whosever share
    assert not any(request.awaited for request in child.open)


def test_others_wait_for_a_piece_where_few_of_them_can_have_it_from_its_parent() -> None:
    def awaited(nodes: int) -> bool:
        child = Child()
        child.task(40)
        child.parents("a", "b", "c", share=(0, nodes))
        child.has("a", 7)
        (request,) = child.open
        return request.awaited

    assert awaited(12)
    assert not awaited(5)  # a list lacks a node for a while
