"""Phase 1 and chunk tables: they cut the shard, count more than what nodes say, and are not sent to who has them."""

from __future__ import annotations

from modeldist.artifact import ShardChunks
from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import Phase1Config
from tests.unit.scheduler.phase1_control import PIECE, TASK, Control
from tests.unit.scheduler.scheduler_world import blake3_of

COUNT = 10
LIE = b"\xff" * 32


def table(chunk_size: int = PIECE, count: int = COUNT, task: m.Digest = TASK) -> ShardChunks:
    return ShardChunks(task, chunk_size, b"".join(blake3_of(piece) for piece in range(count)))


def told(control: Control, node: str) -> dict[int, bytes]:
    messages = control.heard(node, m.PieceDigests)
    return {d.piece: d.blake3 for message in messages if isinstance(message, m.PieceDigests) for d in message.digests}


def test_the_table_cuts_the_shard() -> None:
    control = Control()
    control.phase1.trust(table(chunk_size=2 * PIECE, count=5))
    control.join("a")  # which would have it in pieces of PIECE bytes
    (joined,) = control.heard("a", m.TaskJoined)
    assert joined == m.TaskJoined(TASK, 2 * PIECE, chunks=True)
    assert set(told(control, "a")) == set(range(5))


def test_who_has_the_table_is_not_told_it() -> None:
    control = Control()
    control.phase1.trust(table())
    control.join("a", chunks=True)
    control.join("b")
    assert told(control, "a") == {}
    assert told(control, "b") == dict(enumerate(blake3_of(piece) for piece in range(COUNT)))
    control.ask("a")
    control.verified("a", 0, 1)
    control.wait(5)
    assert told(control, "a") == told(control, "b") == {}


def test_a_node_that_says_otherwise_is_not_believed() -> None:
    control = Control()
    control.phase1.trust(table())
    lies = tuple(m.PieceDigest(piece, LIE) for piece in range(COUNT))
    control.join("liar", have=b"\xff\x03", digests=lies)
    control.report("liar", m.TaskReport(TASK, verified=lies))
    control.join("a")
    control.wait(5)
    assert set(told(control, "a").values()) == {blake3_of(piece) for piece in range(COUNT)}


def test_a_table_that_comes_late_replaces_what_was_said() -> None:
    control = Control()
    control.join("liar", have=b"\xff\x03", digests=tuple(m.PieceDigest(piece, LIE) for piece in range(COUNT)))
    control.join("a")
    assert set(told(control, "a").values()) == {LIE}
    control.phase1.trust(table())
    control.wait(5)
    assert told(control, "a") == dict(enumerate(blake3_of(piece) for piece in range(COUNT)))


def test_a_rejected_shard_goes_back_to_the_table() -> None:
    control = Control(Phase1Config(restart_grace=0.0))
    control.phase1.trust(table())
    control.join("a", chunks=True)
    control.join("b")
    told(control, "b")
    control.ask("a")
    control.verified("a", *range(COUNT))
    control.say("a", m.ShardRejected(TASK))
    control.wait(5)
    control.join("c")
    assert told(control, "c") == dict(enumerate(blake3_of(piece) for piece in range(COUNT)))


def test_a_table_of_another_size_than_the_shard_is_left_aside() -> None:
    control = Control()
    control.phase1.trust(table(count=3))
    control.join("a")
    assert control.heard("a", m.TaskJoined) == [m.TaskJoined(TASK, PIECE)]
    assert told(control, "a") == {}


def test_tables_beyond_what_is_kept_are_forgotten_the_oldest_first() -> None:
    control = Control()
    big = bytes(100 << 20)
    for name in ("1", "2", "3"):
        control.phase1.trust(ShardChunks(m.Digest(f"sha256:{name * 64}"), PIECE, big))
    control.phase1.trust(table())
    control.join("a")
    assert control.heard("a", m.TaskJoined) == [m.TaskJoined(TASK, PIECE, chunks=True)]
