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


def test_two_artifacts_that_disagree_about_a_shard_count_for_nothing() -> None:
    control = Control()
    control.phase1.trust(table())
    control.phase1.trust(ShardChunks(TASK, 2 * PIECE, LIE * 5))
    control.phase1.trust(table())
    control.join("a", chunks=True)
    assert control.heard("a", m.TaskJoined) == [m.TaskJoined(TASK, PIECE)], "cut as the node's own table says"
    control.join("b")
    control.ask("a")
    control.verified("a", 0)
    control.wait(5)
    assert told(control, "b") == {0: blake3_of(0)}, "what the reader found, and nothing of either table"


def test_a_disagreement_leaves_a_running_swarm_as_it_is() -> None:
    control = Control()
    control.phase1.trust(table())
    control.join("a", chunks=True)
    control.phase1.trust(ShardChunks(TASK, 2 * PIECE, LIE * 5))
    control.join("b")
    assert told(control, "b") == {piece: blake3_of(piece) for piece in range(COUNT)}


def test_the_table_of_a_stranger_is_given_up_when_the_origin_gives_something_else() -> None:
    """A hostile artifact names the shard of another one, which has no table, with digests that are false."""
    control = Control()
    control.phase1.trust(ShardChunks(TASK, PIECE, LIE * COUNT))
    control.join("a")
    control.join("b")
    assert set(told(control, "a").values()) == set(told(control, "b").values()) == {LIE}
    control.ask("a")
    control.verified("a", 0)
    assert control.heard("a", m.TaskReset)
    assert control.heard("b", m.TaskReset), "it believed the false digests"
    for node in ("a", "b"):
        control.say(node, m.LeaveTasks((TASK,)))
        control.join(node)
        assert told(control, node) == {}
    control.ask("a")
    control.verified("a", 0)
    control.wait(5)
    assert told(control, "b") == {0: blake3_of(0)}
    control.phase1.trust(ShardChunks(TASK, PIECE, LIE * COUNT))
    control.join("c")
    assert LIE not in told(control, "c").values(), "nor is it believed when the hostile artifact is pulled again"


def test_who_has_its_own_table_goes_on_when_another_is_given_up() -> None:
    control = Control()
    control.phase1.trust(ShardChunks(TASK, PIECE, LIE * COUNT))
    control.join("own", chunks=True)
    control.join("reader")
    control.ask("reader")
    control.verified("reader", 0)
    assert not control.heard("own", m.TaskReset)
