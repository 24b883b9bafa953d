"""What is let in: ceilings, who is refused first, shares of tokens, and when those who are refused are told to come."""

from __future__ import annotations

import heapq
import os
import random
import resource
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.control.admission.drain import LONGEST, Drain
from modeldist.control.admission.memory import Memory, default_ceiling, resident
from modeldist.control.admission.room import REACH, SHARE, Room
from modeldist.control.admission.rooms import Ceilings, Rooms
from modeldist.errors import Overloaded, ShareUsedUp
from modeldist.scheduler.messages import Priority
from modeldist.session.asking_again import SPREAD

PREFETCH, PULL, SERVING = Priority.PREFETCH, Priority.PULL, Priority.SERVING


def fill(room: Room, holder: str, priority: Priority, now: float = 0.0) -> int:
    """How many more are let in, and the kind of refusal that follows."""
    count = 0
    while True:
        try:
            room.take(1, holder, priority, now)
        except Overloaded:
            return count
        count += 1


def crowd(room: Room, priority: Priority) -> int:
    """As `fill`, each with a token of its own."""
    count = 0
    while True:
        try:
            room.take(1, f"{priority} {count}", priority, 0.0)
        except Overloaded as refused:
            assert not isinstance(refused, ShareUsedUp)
            return count
        count += 1


def test_a_ceiling_is_reached_and_released() -> None:
    room = Room("pulls run", 10)
    assert crowd(room, SERVING) == 10
    with pytest.raises(Overloaded, match="10 pulls run already") as refused:
        room.take(1, "late", SERVING, 0.0)
    assert refused.value.retry_after
    room.free(1, f"{SERVING} 3", 1.0)
    room.take(1, "late", SERVING, 1.0)
    assert (room.used, room.held_by("late")) == (10, 1)


def test_prefetches_are_refused_first_then_pulls_then_what_serves() -> None:
    room = Room("pulls run", 100)
    assert [crowd(room, priority) for priority in (PREFETCH, PULL, SERVING)] == [60, 25, 15]
    with pytest.raises(Overloaded, match="kept for more than a prefetch"):
        room.take(1, "x", PREFETCH, 0.0)


def test_what_serves_finds_room_among_prefetches_of_the_same_token() -> None:
    room = Room("pulls run", 100)
    assert fill(room, "a", PREFETCH) == 60
    assert fill(room, "a", SERVING) == 7  # up to its share


def test_one_token_leaves_room_for_others() -> None:
    room = Room("pulls run", 1000)
    assert fill(room, "greedy", SERVING) == 667
    with pytest.raises(ShareUsedUp, match="667 pulls run for this token"):
        room.take(1, "greedy", SERVING, 0.0)
    found = [fill(room, f"late {number}", SERVING) for number in range(5)]
    assert all(found), found


def test_two_tokens_come_to_the_same_in_time() -> None:
    """As one's pulls end, and both ask for more, the other has as many."""
    room, rng = Room("pulls run", 90), random.Random(1)
    held = {"greedy": fill(room, "greedy", SERVING), "late": 0}
    for _ in range(2000):
        ends = rng.choices(list(held), list(held.values()))[0]
        room.free(1, ends, 0.0)
        held[ends] -= 1
        for asks in rng.sample(list(held), 2):
            held[asks] += fill(room, asks, SERVING)
    assert held == {"greedy": 36, "late": 36}  # two fifths each


def test_whoever_has_nothing_is_let_in_however_many_share_the_rest() -> None:
    room = Room("pulls run", 1000)
    for number in range(5):
        fill(room, f"team {number}", SERVING)
        assert room.held_by(f"team {number}") >= 1
    assert room.used <= 1000


def test_what_grows_is_kept_and_newcomers_wait() -> None:
    room = Room("bytes are held", 100)
    room.take(50, "a", SERVING, 0.0)
    room.add(80, "a", 0.0)
    assert room.used == 130
    with pytest.raises(Overloaded):
        room.take(1, "b", SERVING, 0.0)
    room.free(130, "a", 1.0)
    room.take(1, "b", SERVING, 1.0)


def test_something_larger_than_the_ceiling_is_let_in_alone() -> None:
    room = Room("bytes are held", 100)
    room.take(500, "a", PREFETCH, 0.0)
    with pytest.raises(Overloaded):
        room.take(1, "b", SERVING, 0.0)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Priority), st.integers(1, 30)), max_size=200),
    st.randoms(use_true_random=False),
)
def test_never_above_the_ceiling_and_nothing_is_forgotten(
    asks: list[tuple[str, Priority, int]], rng: random.Random
) -> None:
    room, inside = Room("bytes are held", 100), []
    for now, (holder, priority, amount) in enumerate(asks):
        before = room.used
        try:
            room.take(amount, holder, priority, now)
        except Overloaded as refused:
            assert refused.retry_after is not None
            assert 1.0 <= refused.retry_after <= LONGEST
            assert room.used == before
        else:
            inside.append((holder, amount))
            assert room.used <= 100 * REACH[priority] or before == 0
        if inside and rng.random() < 0.3:
            holder, amount = inside.pop(rng.randrange(len(inside)))
            room.free(amount, holder, now)
        assert room.used == sum(amount for _, amount in inside)
        for holder in "abc":
            assert room.held_by(holder) == sum(amount for whose, amount in inside if whose == holder)


@dataclass
class Queue:
    """Clients that come back when they are told to, and no earlier."""

    room: Room
    seconds: float  # that each keeps its place, about
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def run(self, clients: int) -> tuple[list[int], float]:
        """(how often each had to ask, when the last was let in)."""
        tries = [0] * clients
        events = [(0.0, number, "ask") for number in range(clients)]
        heapq.heapify(events)
        last = 0.0
        while events:
            now, number, what = heapq.heappop(events)
            if what == "end":
                self.room.free(1, str(number), now)
                continue
            tries[number] += 1
            try:
                self.room.take(1, str(number), SERVING, now)
            except Overloaded as refused:
                assert refused.retry_after is not None
                spread = 1.0 + SPREAD * self.rng.random()  # as clients do
                heapq.heappush(events, (now + refused.retry_after * spread, number, "ask"))
            else:
                last = max(last, now)
                heapq.heappush(events, (now + self.rng.uniform(0.5, 1.5) * self.seconds, number, "end"))
        return tries, last


@pytest.mark.parametrize(("places", "seconds", "clients"), [(10, 1.0, 200), (50, 2.0, 1000), (20, 0.5, 400)])
def test_retry_after_is_honest(places: int, seconds: float, clients: int) -> None:
    """Who waits as long as he is told gets in after few tries, and the places do not stand empty meanwhile."""
    tries, last = Queue(Room("pulls run", places), seconds).run(clients)
    best = clients / places * seconds
    assert sum(tries) / clients < 4, sum(tries) / clients
    assert last < 1.7 * best + 2, (last, best)


def test_how_long_a_drain_makes_wait() -> None:
    drain = Drain(0.0)
    drain.passed(100, 20.0)
    assert drain.wait_for(1, 100) == 20.0  # nothing ended for so long
    for tenth in range(200, 1200):  # a hundred places, ten of them free again each second: each is kept for ten seconds
        drain.passed(100, tenth / 10)
        drain.gave_back(1)
    assert drain.wait_for(50, 100) == pytest.approx(5.0, rel=0.1)
    assert drain.wait_for(1, 10) == pytest.approx(1.0, rel=0.1)  # of ten places one a second


def test_no_room_in_memory() -> None:
    used = 0.5
    rooms = Rooms(Ceilings(pulls=100), memory=lambda now: used)
    rooms.take(rooms.pulls, "a", PREFETCH)
    used = 0.7
    with pytest.raises(Overloaded, match="70% of the memory"):
        rooms.take(rooms.pulls, "a", PREFETCH)
    rooms.take(rooms.pulls, "a", PULL)
    used = 0.9
    with pytest.raises(Overloaded):
        rooms.take(rooms.pulls, "a", PULL)
    rooms.take(rooms.pulls, "a", SERVING)
    used = 1.1
    with pytest.raises(Overloaded, match="MODELDIST_SERVER_MEMORY") as refused:
        rooms.take(rooms.pulls, "a", SERVING)
    assert refused.value.retry_after
    assert {name: room.refused for name, room in rooms.all().items() if room.refused} == {"pulls": 3}
    assert rooms.all()["pulls"].full == pytest.approx(0.03)
    rooms.take(rooms.requests, "a", SERVING)  # one may look, and stop what runs
    rooms.take(rooms.resolves, "a", SERVING)  # the only one of its kind goes on
    used = 0.5
    rooms.take(rooms.pulls, "a", PREFETCH)


def test_memory_of_this_process() -> None:
    Memory(1).share(1.0)  # far too much: what was freed and kept is given back, and later looks see only what is in use
    assert 10 << 20 < resident() < default_ceiling() * 20
    memory = Memory(resident() * 2)
    assert 0.4 < memory.share(1.0) < 0.7
    assert Memory(resident() // 2).share(1.0) > 1.5


def test_without_a_descriptor_to_look_with_what_was_seen_last_holds() -> None:
    memory = Memory(resident() * 2)
    seen = memory.share(1.0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(free := os.dup(0))  # the lowest that there is
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            resident()
        assert memory.share(2.0) == seen
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert memory.share(3.0) > 0


def test_a_share_is_what_the_documentation_says() -> None:
    assert pytest.approx(2 / 3) == SHARE / (1 + SHARE)
    assert pytest.approx(2 / 5) == SHARE / (1 + 2 * SHARE)
    assert (REACH[PREFETCH], REACH[PULL], REACH[SERVING]) == (0.6, 0.85, 1.0)
