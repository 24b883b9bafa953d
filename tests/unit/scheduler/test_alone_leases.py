"""What the only node there is gets leased: everything at once, each piece once, in order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.artifact import Digest
from modeldist.scheduler.alone import LEAST, MOST, Alone
from modeldist.scheduler.messages import (
    HeldLease,
    JoinTasks,
    LeaseFailed,
    LeaseGranted,
    LeaseRequest,
    LeaveTasks,
    TaskJoin,
    TaskJoined,
)
from modeldist.scheduler.pieces import MIB, PieceLayout, PieceSet, piece_size_for

SHARD = Digest(f"sha256:{1:064x}")


def joined(size: int, **facts: object) -> tuple[Alone, PieceLayout]:
    alone = Alone()
    join = TaskJoin(SHARD, size, "origin", **facts)  # type: ignore[arg-type]
    ((node, answer),) = alone.handle("node", JoinTasks((join,)), 0.0)
    assert node == "node" and isinstance(answer, TaskJoined)
    return alone, PieceLayout(size, answer.piece_size)


def granted(alone: Alone, pieces: int = 1 << 30) -> list[LeaseGranted]:
    told = [instruction for _, instruction in alone.handle("node", LeaseRequest(SHARD, pieces), 0.0)]
    leases = [instruction for instruction in told if isinstance(instruction, LeaseGranted)]
    assert leases == told
    return leases


def pieces_of(leases: list[LeaseGranted]) -> list[int]:
    return [piece for lease in leases for piece in range(lease.start, lease.start + lease.count)]


@pytest.mark.parametrize("size", [1, 256 << 10, 91 * MIB, 1000 * MIB, 100_000 * MIB])
def test_a_shard_is_leased_whole_and_in_order(size: int) -> None:
    alone, layout = joined(size)
    leases = granted(alone, layout.count)
    assert layout.piece_size == piece_size_for(size)
    assert pieces_of(leases) == list(range(layout.count))
    sizes = [lease.count * layout.piece_size for lease in leases]
    assert max(sizes) <= max(MOST, layout.piece_size)
    assert sizes == sorted(sizes, reverse=True)
    assert granted(alone) == []


def test_a_huge_shard_has_few_leases() -> None:
    alone, layout = joined(1 << 40)
    leases = granted(alone, layout.count)
    assert pieces_of(leases) == list(range(layout.count))
    assert len(leases) < 4096  # what a node may say that it holds when it joins again


def test_the_last_leases_are_short() -> None:
    alone, layout = joined(1000 * MIB)
    leases = granted(alone, layout.count)
    assert all(lease.count * layout.piece_size <= LEAST for lease in leases[-4:])


@given(st.integers(0, 1 << 64), st.integers(0, 300))
def test_what_is_held_is_not_leased(have: int, missing_at: int) -> None:
    layout = PieceLayout(64 * MIB, MIB // 4)
    held = PieceSet(have & layout.all.bits).discard(missing_at)
    alone, _ = joined(layout.size, have=held.to_bytes(), piece_size=layout.piece_size)
    leases = granted(alone)
    assert PieceSet.of(pieces_of(leases)) == layout.all - held
    assert max(Counter(pieces_of(leases)).values(), default=1) == 1


def test_what_could_not_be_read_is_granted_when_asked_for_again() -> None:
    alone, layout = joined(1000 * MIB)
    first, *_ = granted(alone, layout.count)
    unread = PieceSet.of((first.start + 1, first.start + 2))
    assert alone.handle("node", LeaseFailed(SHARD, first.lease, unread.to_bytes(), "lost"), 0.0) == []
    again = granted(alone)
    assert [(lease.start, lease.count) for lease in again] == [(first.start + 1, 2)]
    assert again[0].lease > first.lease


def test_joining_again_keeps_the_leases_that_are_read() -> None:
    alone, layout = joined(1000 * MIB)
    first, *rest = granted(alone, layout.count)
    join = TaskJoin(SHARD, layout.size, "origin", leases=(HeldLease(first.lease, first.start, first.count),))
    alone.handle("node", JoinTasks((join,)), 0.0)
    assert pieces_of(granted(alone)) == pieces_of(rest)


def test_starting_again_leases_everything_again() -> None:
    alone, layout = joined(91 * MIB)
    granted(alone)
    alone.handle("node", JoinTasks((TaskJoin(SHARD, layout.size, "origin"),)), 0.0)
    assert pieces_of(granted(alone)) == list(range(layout.count))


def test_a_task_that_was_left_gets_nothing() -> None:
    alone, _ = joined(91 * MIB)
    alone.handle("node", LeaveTasks((SHARD,)), 0.0)
    assert granted(alone) == []


@given(st.sets(st.integers(0, 63), min_size=1), st.sets(st.integers(0, 63)))
def test_of_a_part_what_is_wanted_and_not_here_is_granted_once(wanted: set[int], have: set[int]) -> None:
    alone, _ = joined(64 * MIB, piece_size=MIB, only=PieceSet.of(wanted).to_bytes(), have=PieceSet.of(have).to_bytes())
    assert sorted(pieces_of(granted(alone, 64))) == sorted(wanted - have)
    assert not granted(alone, 64)
