"""What every transport must do, whatever moves the bytes. Subclass with a `world` fixture."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.base import (
    Busy,
    CheckCapability,
    Hash,
    Into,
    Lost,
    NotWritten,
    Outcome,
    PieceServer,
    Received,
    Refused,
    ServedLoad,
    ServerLimits,
    Transport,
)
from tests.unit.transfer.shelf import GOOD, Child, Shelf, good_capability, until

MIB = 1 << 20
IDLE = 0


@dataclass
class World:
    """One kind of transport: how to serve with it and how to reach the server. Removed with `end`."""

    folder: Path
    make_server: Callable[[Shelf, CheckCapability, ServerLimits], PieceServer]
    transport: Transport
    servers: list[PieceServer] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    @property
    def shelf(self) -> Shelf:
        return self._shelf

    def __post_init__(self) -> None:
        self._shelf = Shelf(self.folder / "shelf")

    def serve(self, check: CheckCapability = good_capability, **limits: object) -> PieceServer:
        server = self.make_server(self._shelf, check, ServerLimits(**limits))  # type: ignore[arg-type]
        self.servers.append(server)
        return server

    async def child(self, server: PieceServer, name: str = "child") -> Child:
        child = Child(self.folder / f"target-{len(self.children)}")
        self.children.append(child)
        return await child.connect(self.transport, server.address, name)

    async def end(self) -> None:
        for child in self.children:
            if hasattr(child, "connection"):
                child.close()
        for server in self.servers:
            server.close()
        for child in self.children:
            await child.all_settled()
            assert all(len(found) == 1 for found in child.outcomes.values()), "every fetch has exactly one outcome"
            child.release()
        await until(lambda: self._shelf.open_now == 0)
        await until(lambda: not self._shelf.watchers)


class TransportConformance:
    in_order = True  # bodies come in the order they were asked for

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        raise NotImplementedError
        yield

    # --- what the parent holds ---

    async def test_subscribing_tells_everything_held(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(10 * 1024), 1024, PieceSet.of([0, 3, 9]))
        child = await world.child(world.serve())
        await child.subscribe(shard)
        assert child.haves == [(shard, PieceSet.of([0, 3, 9]))]

    async def test_pieces_verified_later_are_pushed_once(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(64 * 1024), 1024, PieceSet())
        child = await world.child(world.serve())
        await child.subscribe(shard)
        assert child.haves == [(shard, PieceSet())]
        for index in range(64):
            world.shelf.verify(shard, PieceSet.of([index]))
        await until(lambda: child.told(shard) == PieceSet.full(64))
        assert sum(len(news) for _, news in child.haves) == 64
        assert len(child.haves) < 64, "news travel in batches"

    async def test_a_shard_that_appears_later_is_told_and_served(self, world: World) -> None:
        content = os.urandom(4096)
        elsewhere = Shelf(world.folder / "elsewhere")
        shard = elsewhere.add(content, 1024)
        child = await world.child(world.serve())
        await child.subscribe(shard)
        assert child.told(shard) == PieceSet()
        assert isinstance(await child.fetch(shard, 0, 1024), Refused)
        world.shelf.add(content, 1024, PieceSet())
        world.shelf.verify(shard, PieceSet.full(4))
        await until(lambda: child.told(shard) == PieceSet.full(4))
        assert isinstance(await child.fetch(shard, 0, 4096), Received)
        assert child.target.read_bytes() == content

    async def test_children_hear_of_pieces_that_nobody_waits_for(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(64 * 1024), 1024, PieceSet())
        child = await world.child(world.serve())
        await child.subscribe(shard)
        for index in range(64):
            world.shelf.verify(shard, PieceSet.of([index]), awaited=index == 5)
        await until(lambda: child.told(shard) == PieceSet.full(64))
        assert sum(len(news) for _, news in child.haves) == 64

    async def test_unsubscribing_ends_news_and_service(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(4096), 1024, PieceSet.of([0]))
        other = world.shelf.add(os.urandom(4096), 1024)
        child = await world.child(world.serve())
        await child.subscribe(shard)
        child.connection.unsubscribe(shard)
        child.connection.unsubscribe(shard)
        assert isinstance(await child.fetch(shard, 0, 1024), Refused)
        await child.subscribe(other)
        assert not world.shelf.watchers or all(watched == other for watched, _ in world.shelf.watchers)
        world.shelf.verify(shard, PieceSet.of([1]))
        assert child.told(shard) == PieceSet.of([0])

    # --- ranges ---

    @pytest.mark.parametrize(
        ("start", "length"),
        [
            (0, 1),
            (0, 4096),
            (4096, 4096),
            (4095, 2),
            (1, 20_000),
            (3 * MIB - 1, 1),
            (2 * MIB + 7, MIB - 7),
            (0, 3 * MIB),
        ],
    )
    @pytest.mark.parametrize("hashing", [False, True])
    async def test_a_range_arrives_byte_exact_and_nothing_else_is_touched(
        self, world: World, start: int, length: int, hashing: bool
    ) -> None:
        content = os.urandom(3 * MIB)
        shard = world.shelf.add(content, 4096)
        child = await world.child(world.serve())
        child.hashing = hashing
        await child.subscribe(shard)
        before = b"\xaa" * (length + 2000)
        child.target.write_bytes(before)
        outcome = await child.fetch(shard, start, length, offset=1000)
        assert isinstance(outcome, Received)
        assert outcome.bytes == length
        assert outcome.seconds >= 0
        expected = before[:1000] + content[start : start + length] + before[1000 + length :]
        assert child.target.read_bytes() == expected
        if outcome.hashed:
            assert child.hashes[0].digest() == hashlib.sha256(content[start : start + length]).digest()

    async def test_a_hash_goes_along_with_each_of_many_ranges(self, world: World) -> None:
        content = os.urandom(3 * MIB + 17)
        shard = world.shelf.add(content, 300_000)
        child = await world.child(world.serve())
        await child.subscribe(shard)
        ranges = [(start, min(300_000, len(content) - start)) for start in range(0, len(content), 300_000)]
        asked = []
        for turn, (start, length) in enumerate(ranges):
            child.hashing = turn % 3 != 1
            asked.append(child.ask(shard, start, length))
        await child.all_settled()
        assert child.target.read_bytes() == content
        for number, (start, length) in zip(asked, ranges, strict=True):
            outcome, along = child.outcomes[number][0], child.hashes[number]
            assert isinstance(outcome, Received)
            assert not outcome.hashed or along is not None
            if along is not None and outcome.hashed:
                assert along.digest() == hashlib.sha256(content[start : start + length]).digest()

    async def test_a_short_last_piece_of_a_shard(self, world: World) -> None:
        content = os.urandom(3 * 4096 + 17)
        shard = world.shelf.add(content, 4096)
        child = await world.child(world.serve())
        await child.subscribe(shard)
        assert child.told(shard) == PieceSet.full(4)
        assert isinstance(await child.fetch(shard, 3 * 4096, 17), Received)
        assert child.target.read_bytes()[3 * 4096 :] == content[3 * 4096 :]
        assert isinstance(await child.fetch(shard, 3 * 4096, 18), Refused)

    async def test_a_hundred_requests_in_flight_are_answered_in_order(self, world: World) -> None:
        content = os.urandom(100 * 8192)
        shard = world.shelf.add(content, 8192)
        child = await world.child(world.serve())
        await child.subscribe(shard)
        asked = [child.ask(shard, piece * 8192, 8192) for piece in reversed(range(100))]
        await child.all_settled()
        assert len(child.received) == 100
        assert child.order == asked if self.in_order else sorted(child.order) == sorted(asked)
        assert child.target.read_bytes() == content

    async def test_two_shards_share_a_connection(self, world: World) -> None:
        shards = [world.shelf.add(os.urandom(8192), 4096) for _ in range(2)]
        child = await world.child(world.serve())
        for shard in shards:
            await child.subscribe(shard)
        for index in range(4):
            child.ask(shards[index % 2], 4096 * (index // 2), 4096, offset=4096 * index)
        await child.all_settled()
        one, two = (world.shelf.contents[shard] for shard in shards)
        assert child.target.read_bytes() == one[:4096] + two[:4096] + one[4096:] + two[4096:]

    async def test_the_load_counts_what_was_served(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(8192), 4096)
        server = world.serve()
        child = await world.child(server)
        await child.subscribe(shard)
        await child.fetch(shard, 0, 8192)
        await until(lambda: server.load() == ServedLoad(IDLE, 0, 8192))

    # --- no ---

    async def test_only_verified_pieces_are_served(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(4 * 4096), 4096, PieceSet.of([0, 1, 3]))
        child = await world.child(world.serve())
        await child.subscribe(shard)
        for start, length in [(8192, 4096), (8191, 2), (0, 4 * 4096), (12287, 2)]:
            assert isinstance(await child.fetch(shard, start, length), Refused)
        assert isinstance(await child.fetch(shard, 0, 8192), Received)
        assert isinstance(await child.fetch(shard, 12288, 4096), Received)

    async def test_a_shard_nobody_subscribed_to_is_refused(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(4096), 4096)
        child = await world.child(world.serve())
        assert isinstance(await child.fetch(shard, 0, 4096), Refused)

    async def test_a_wrong_capability_opens_nothing(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(4096), 4096)
        child = await world.child(world.serve())
        await child.subscribe(shard, b"forged")
        assert child.told(shard) == PieceSet()
        assert isinstance(await child.fetch(shard, 0, 4096), Refused)
        assert not world.shelf.watchers

    async def test_the_check_is_told_which_child_and_which_shard(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(4096), 4096)
        asked: list[tuple[bytes, str, Digest]] = []

        def check(*question: object) -> bool:
            asked.append(question)  # type: ignore[arg-type]
            return True

        child = await world.child(world.serve(check), "node-7")
        await child.subscribe(shard, b"token")
        assert set(asked) == {(b"token", "node-7", shard)}

    async def test_a_capability_that_expires_is_refused_until_it_is_renewed(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(8192), 4096)
        valid = {GOOD}
        child = await world.child(world.serve(lambda capability, *_: capability in valid))
        await child.subscribe(shard)
        assert isinstance(await child.fetch(shard, 0, 4096), Received)
        valid.clear()
        refused = await child.fetch(shard, 0, 4096)
        assert isinstance(refused, Refused)
        assert "capability" in refused.reason
        valid.add(b"renewed")
        await child.subscribe(shard, b"renewed")
        assert isinstance(await child.fetch(shard, 4096, 4096), Received)

    async def test_busy_beyond_the_limit_but_never_for_a_newcomer(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(MIB), 65536)
        # A piece takes a quarter of a second, and what may be sent at once is less than one: nobody asks as slowly.
        server = world.serve(requests_in_service=2, upload_rate=0.25 * MIB)
        greedy = await world.child(server, "greedy")
        await greedy.subscribe(shard)
        for piece in range(8):
            greedy.ask(shard, piece * 65536, 65536)
        newcomer = await world.child(server, "newcomer")
        await newcomer.subscribe(shard)
        assert isinstance(await newcomer.fetch(shard, 0, 65536), Received)
        await greedy.all_settled()
        outcomes = [found[0] for found in greedy.outcomes.values()]
        busy = [outcome for outcome in outcomes if isinstance(outcome, Busy)]
        assert len(busy) + len(greedy.received) == 8
        assert isinstance(outcomes[0], Received)
        assert busy
        assert all(0 < outcome.retry_after <= 60 for outcome in busy)

    async def test_children_share_the_upload_limit(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(MIB), 65536)
        server = world.serve(upload_rate=8.0 * MIB)
        children = [await world.child(server, f"child-{index}") for index in range(3)]
        for child in children:
            await child.subscribe(shard)
            for piece in range(4):
                child.ask(shard, piece * 65536, 65536)
        for child in children:
            await child.all_settled()
            assert len(child.received) == 4

    async def test_too_many_connections(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(4096), 4096)
        server = world.serve(connections=1)
        child = await world.child(server)
        await child.subscribe(shard)
        with pytest.raises(OSError, match=r"takes no more"):
            await world.child(server)

    @pytest.mark.parametrize("along", [None, hashlib.sha256()])
    async def test_a_file_that_cannot_be_written_is_not_the_parents_fault(
        self, world: World, along: Hash | None
    ) -> None:
        content = os.urandom(3 * MIB)
        shard = world.shelf.add(content, MIB)
        child = await world.child(world.serve())
        await child.subscribe(shard)
        read_only = os.open(child.target, os.O_RDONLY)
        outcomes: list[Outcome] = []
        child.connection.fetch(shard, 0, 3 * MIB, Into(read_only, 0, along), outcomes.append)
        good = child.ask(shard, MIB, 2 * MIB)
        await child.all_settled()
        os.close(read_only)
        (failed,) = outcomes
        assert isinstance(failed, NotWritten)
        assert failed.error.errno == errno.EBADF
        assert isinstance(child.outcomes[good][0], Received), "the connection lives on"
        assert child.target.read_bytes()[MIB:] == content[MIB:]
        assert not child.closed

    # --- endings ---

    async def test_nobody_listens(self, world: World) -> None:
        server = world.serve()
        server.close()
        with pytest.raises(OSError, match="cannot be reached"):
            await world.child(server)

    async def test_the_parent_dies_in_mid_body(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(8 * MIB), MIB)
        server = world.serve(upload_rate=2.0 * MIB)
        child = await world.child(server)
        await child.subscribe(shard)
        for piece in range(8):
            child.ask(shard, piece * MIB, MIB)
        await until(lambda: server.load().bytes_sent > 0)
        server.close()
        await child.all_settled()
        await until(lambda: child.closed)
        assert len(child.lost) >= 7
        assert len(child.closed) == 1
        assert child.closed[0]
        assert server.load().requests == 0
        assert server.load().bytes_queued == 0
        assert isinstance(await child.fetch(shard, 0, MIB), Lost)

    async def test_the_child_leaves_in_mid_body(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(8 * MIB), MIB)
        server = world.serve(upload_rate=2.0 * MIB)
        child = await world.child(server)
        await child.subscribe(shard)
        for piece in range(8):
            child.ask(shard, piece * MIB, MIB)
        await until(lambda: server.load().bytes_sent > 0)
        child.close()
        child.close()
        await child.all_settled()
        assert len(child.lost) >= 7
        await until(lambda: (server.load().requests, server.load().bytes_queued) == (0, 0))
        assert child.closed == [], "who closes is not told"
        assert isinstance(await child.fetch(shard, 0, MIB), Lost)
        child.connection.subscribe(shard, GOOD)
        child.connection.unsubscribe(shard)

    async def test_children_come_and_go(self, world: World) -> None:
        shard = world.shelf.add(os.urandom(4096), 4096)
        server = world.serve()
        for index in range(50):
            child = await world.child(server, f"child-{index}")
            await child.subscribe(shard)
            assert isinstance(await child.fetch(shard, 0, 4096), Received)
            child.close()
        await until(lambda: world.shelf.open_now == 0 and not world.shelf.watchers)

    async def test_the_parent_closes_while_nothing_happens(self, world: World) -> None:
        server = world.serve()
        child = await world.child(server)
        server.close()
        await until(lambda: child.closed)
        assert "shutting down" in child.closed[0]
