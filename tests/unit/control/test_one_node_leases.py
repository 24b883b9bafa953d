"""How many leases, and how many rounds of reports between them, a shard costs where one engine pulls for itself."""

from __future__ import annotations

from collections import deque

import pytest

from modeldist.artifact import Digest
from modeldist.control.inprocess import for_one_node
from modeldist.scheduler.messages import (
    Instruction,
    JoinTasks,
    LeaseGranted,
    LeaseRequest,
    Load,
    Location,
    PieceDigest,
    Report,
    TaskJoin,
    TaskReport,
)
from modeldist.scheduler.pieces import PieceLayout, piece_size_for

MIB = 1 << 20
STREAMS = 4  # leases an engine reads at a time


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


class Alone:
    """One node of phase 1 whose clock stands still: nothing it gets has waited for a timer."""

    def __init__(self, *sizes: int) -> None:
        self.layouts = {digest(at): PieceLayout(size, piece_size_for(size)) for at, size in enumerate(sizes)}
        self.phase1 = for_one_node()
        self.waiting: deque[LeaseGranted] = deque()
        self.granted: list[LeaseGranted] = []
        self.phase1.node_joined("node", "", Location(), 0.0)
        self._take(
            self.phase1.handle(
                "node", JoinTasks(tuple(TaskJoin(task, of.size, "origin") for task, of in self.layouts.items())), 0.0
            )
        )
        for task, layout in self.layouts.items():
            self._take(self.phase1.handle("node", LeaseRequest(task, layout.count), 0.0))

    def _take(self, told: list[tuple[str, Instruction]]) -> None:
        leases = [instruction for _, instruction in told if isinstance(instruction, LeaseGranted)]
        self.granted += leases
        self.waiting += leases

    def read(self) -> int:
        """Read everything, `STREAMS` leases at a time; a report goes out only when no stream has anything to read.
        Returns how many reports that took."""
        reports = 0
        while self.waiting:
            read = list(self.waiting)
            self.waiting.clear()
            tasks = tuple(
                TaskReport(
                    lease.task,
                    verified=tuple(
                        PieceDigest(piece, bytes(32)) for piece in range(lease.start, lease.start + lease.count)
                    ),
                )
                for lease in read
            )
            reports += 1
            self._take(self.phase1.handle("node", Report(reports, Load(), tasks), 0.0))
        return reports


@pytest.mark.parametrize("size", [1, 256 << 10, 91 * MIB, 1000 * MIB])
def test_a_shard_of_up_to_a_gigabyte_is_leased_at_once(size: int) -> None:
    alone = Alone(size)
    (layout,) = alone.layouts.values()
    pieces = [piece for lease in alone.granted for piece in range(lease.start, lease.start + lease.count)]
    assert pieces == list(range(layout.count))
    assert len(alone.granted) <= 17
    assert alone.read() == 1


def test_a_large_shard_is_read_close_together_and_no_stream_waits() -> None:
    alone = Alone(100_000 * MIB)
    (layout,) = alone.layouts.values()
    assert len(alone.granted) >= 4 * STREAMS
    reports = alone.read()
    assert sum(lease.count for lease in alone.granted) == layout.count
    assert max(lease.count for lease in alone.granted) * layout.piece_size <= 64 * MIB
    assert reports <= len(alone.granted) / STREAMS / 4 + 1


def test_many_small_shards_are_leased_many_at_a_time() -> None:
    alone = Alone(*[10_000] * 1000)
    assert alone.read() <= 1000 / 64 + 1
    assert len(alone.granted) == 1000
