"""Parents that do not do as they say, beside one that does: the pull completes, with no wrong byte of theirs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest

from modeldist.scheduler.messages import JoinTasks, TaskJoin
from modeldist.scheduler.pieces import PieceLayout, piece_size_for
from modeldist.session.messages import PROTOCOL, Hello
from modeldist.transfer import frames
from modeldist.transfer.base import ServerLimits
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, assert_right, model
from tests.unit.transfer.bad_parent import BadParent, Parents, bad_parents

LIAR = "e" * 32
SIZE = 24 * MIB
LAYOUT = PieceLayout(SIZE, piece_size_for(SIZE))
HELLO_OK = frames.MAGIC + frames.encode(frames.HelloOk(frames.VERSION, LIAR))

Answer = Callable[[BadParent, int, frames.Request], None]


@pytest.fixture
def parents() -> Iterator[Parents]:
    yield from bad_parents()


def body(request: frames.Request, data: bytes) -> bytes:
    return frames.encode_body_header(request.request, len(data), last=True) + data


def stalls(parent: BadParent, subscription: int, request: frames.Request) -> None:
    """It takes the question, and that is all."""


def stalls_in_the_middle(parent: BadParent, subscription: int, request: frames.Request) -> None:
    parent.say(frames.encode_body_header(request.request, request.length, last=True) + b"x" * (request.length // 2))
    parent.done.wait()


def lies_about_its_inventory(parent: BadParent, subscription: int, request: frames.Request) -> None:
    """And says so again after each refusal."""
    parent.say(frames.encode(frames.Refused(request.request, "It is not here after all.")))
    parent.say(frames.encode(frames.Have.of(subscription, LAYOUT.all)))


def is_always_busy(parent: BadParent, subscription: int, request: frames.Request) -> None:
    parent.say(frames.encode(frames.Busy(request.request, 60_000)))


def floods(parent: BadParent, subscription: int, request: frames.Request) -> None:
    """With news that are none, as fast as they are taken."""
    news = frames.encode(frames.Have.of(subscription, LAYOUT.all)) * 100
    parent.sock.settimeout(2)  # nobody reads on once it was shown out
    while not parent.done.is_set():
        parent.say(news)


def sends_wrong_bytes(parent: BadParent, subscription: int, request: frames.Request) -> None:
    parent.say(body(request, os.urandom(request.length)))


def sends_more_than_was_asked_for(parent: BadParent, subscription: int, request: frames.Request) -> None:
    parent.say(body(request, os.urandom(request.length + 1)))


def speaks_nonsense(parent: BadParent, subscription: int, request: frames.Request) -> None:
    parent.say(os.urandom(4096))


def script(answer: Answer) -> Callable[[BadParent], None]:
    def run(parent: BadParent) -> None:
        parent.say(HELLO_OK)
        subscribed = parent.hear(frames.Subscribe)
        parent.say(frames.encode(frames.Have.of(subscribed.subscription, LAYOUT.all)))
        try:
            while True:
                answer(parent, subscribed.subscription, parent.hear(frames.Request))
        except OSError:  # it was shown out
            return

    return run


@pytest.mark.parametrize(
    "answer",
    [
        stalls,
        stalls_in_the_middle,
        lies_about_its_inventory,
        is_always_busy,
        floods,
        sends_wrong_bytes,
        sends_more_than_was_asked_for,
        speaks_nonsense,
    ],
)
async def test_a_parent_that(cluster: EngineCluster, parents: Parents, answer: Answer) -> None:
    files = model(SIZE)
    artifact = cluster.origin.add(REFERENCE, files)
    shard, parent = artifact.shards[0], parents(script(answer))
    slow = ServerLimits(upload_rate=16.0 * MIB)  # so that the other one is asked, too
    async with (
        cluster.node("good", limits=slow) as good,
        cluster.node("child") as child,
        cluster.control.open(Hello(PROTOCOL, LIAR, "liar", "0", parent.address)) as session,
    ):
        await good.pull()
        have = LAYOUT.all.to_bytes()
        await session.send(JoinTasks((TaskJoin(shard.digest, SIZE, artifact.endpoint, have, seed_only=True),)))
        async with asyncio.timeout(60):
            path, final = await child.pull_and_tell()
        assert_right(path, files)
        cluster.assert_read_once(artifact)
        assert [share.node for share in final.parents] == [good.store.node_id]
        if answer is sends_wrong_bytes:
            assert any(f"from node {LIAR} was wrong" in note for note in final.notes), final.notes
