"""A parent that tells news as ours do is never over the limit; one that floods is, and soon."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modeldist.transfer.tcp.news_limit import GROUND, SAVED, NewsLimit

INTERVAL = 0.02  # seconds between two messages of one shard, see transfer/tcp/herald.py


@given(shards=st.integers(1, 50), held_up=st.floats(0, SAVED))
def test_a_proper_parent_is_within_it_also_when_its_child_was_held_up(shards: int, held_up: float) -> None:
    limit = NewsLimit(0.0)
    waiting = shards + int(held_up / INTERVAL) * shards
    assert all(limit.takes(shards, held_up) for _ in range(waiting))
    for turn in range(1, 20):
        assert all(limit.takes(shards, held_up + turn * INTERVAL) for _ in range(shards))


def test_a_flood_is_over_it() -> None:
    limit = NewsLimit(0.0)
    taken = 0
    while limit.takes(1, 1.0 + taken / 1e6):
        taken += 1
    assert GROUND <= taken < 3 * GROUND
