from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rdma.verbs.send_queue import SendQueue


def test_one_completion_ends_all_before_it() -> None:
    queue: SendQueue[str, str] = SendQueue(8)
    queue.add("one", ["a", "b", "c"])
    queue.add("two", ["d"])
    batch = queue.batch()
    assert [(posting.operation, posting.signaled) for posting in batch] == [
        ("a", False),
        ("b", False),
        ("c", True),
        ("d", True),
    ]
    assert queue.batch() == []
    assert queue.completed(batch[-1].number) == ["one", "two"]
    assert len(queue) == 0


def test_what_has_no_place_waits_behind_a_signal() -> None:
    queue: SendQueue[int, str] = SendQueue(2)
    queue.add("one", range(5))
    first = queue.batch()
    assert [posting.signaled for posting in first] == [False, True]  # else no place would come free
    assert queue.completed(first[1].number) == []
    second = queue.batch()
    assert [posting.operation for posting in second] == [2, 3]
    assert queue.completed(second[0].number) == []
    assert [posting.operation for posting in queue.batch()] == [4]


def test_abandoned_tickets_in_order() -> None:
    queue: SendQueue[int, str] = SendQueue(2)
    for name in ("one", "two", "three"):
        queue.add(name, [0])
    queue.completed(queue.batch()[0].number)
    assert queue.abandon() == ["two", "three"]
    assert len(queue) == 0
    assert queue.abandon() == []


@given(st.integers(1, 7), st.lists(st.integers(1, 9), max_size=30), st.randoms())
def test_everything_is_posted_once_in_order_and_ends_in_order(depth: int, sizes: list[int], random: object) -> None:
    queue: SendQueue[tuple[int, int], int] = SendQueue(depth)
    waiting = list(enumerate(sizes))
    posted: list[tuple[int, int]] = []
    signals: list[int] = []
    ended: list[int] = []
    while waiting or len(queue):
        if waiting and random.random() < 0.5:  # type: ignore[attr-defined]
            ticket, size = waiting.pop(0)
            queue.add(ticket, [(ticket, part) for part in range(size)])
        batch = queue.batch()
        posted += [posting.operation for posting in batch]
        signals += [posting.number for posting in batch if posting.signaled]
        if signals:
            ended += queue.completed(signals.pop(0))
    assert posted == [(ticket, part) for ticket, size in enumerate(sizes) for part in range(size)]
    assert ended == list(range(len(sizes)))
