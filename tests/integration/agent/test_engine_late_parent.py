"""A parent that is given up for another may have a block in hand: it is written before the other's copy, not over."""

from __future__ import annotations

import os
import threading

from modeldist.artifact import Digest
from modeldist.transfer.base import Into, Lost, OnClosed, OnHave, OnOutcome, PeerConnection
from modeldist.transfer.tcp import TcpTransport
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, assert_right, model

LAST_BLOCK_AFTER = 0.3  # seconds
GOOD = 1  # ranges that come before none comes any more


class LateConnection:
    """Stops sending; its last block, a wrong one, is written some time after the connection was closed."""

    transport = "tcp"

    thread: int | None = None

    def __init__(self, inner: PeerConnection) -> None:
        self._inner = inner
        self._good = GOOD
        self._asked: list[tuple[Into, int, OnOutcome]] = []
        self.subscribe, self.unsubscribe = inner.subscribe, inner.unsubscribe

    def fetch(self, shard: Digest, start: int, length: int, into: Into, on_outcome: OnOutcome) -> None:
        if self._good:
            self._good -= 1
            self._inner.fetch(shard, start, length, into, on_outcome)
        else:
            self._asked.append((into, length, on_outcome))

    def close(self) -> None:
        self._inner.close()
        threading.Timer(LAST_BLOCK_AFTER, self._end).start()

    def _end(self) -> None:
        asked, self._asked = self._asked, []
        for into, length, on_outcome in asked:
            os.pwrite(into.fd, bytes(length), into.offset)
            on_outcome(Lost("The connection was closed."))


class OneIsLate:
    """Connections to `late` stop."""

    def __init__(self, late: str) -> None:
        self._late = late
        self._inner = TcpTransport()
        self.stopped = 0

    async def connect(
        self, address: str, *, child: str, on_have: OnHave, on_closed: OnClosed, parent: str = ""
    ) -> PeerConnection:
        connection = await self._inner.connect(address, child=child, on_have=on_have, on_closed=on_closed)
        if address != self._late:
            return connection
        self.stopped += 1
        return LateConnection(connection)


async def test_what_a_late_parent_writes_last_is_written_over(cluster: EngineCluster) -> None:
    files = model(12 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("late") as late, cluster.node("good") as good:
        transport = OneIsLate(late.server.address)
        async with cluster.node("child", transport=transport) as child:
            await late.pull()
            await good.pull()
            path, final = await child.pull_and_tell()
        assert transport.stopped
        assert_right(path, files)
        assert final.peers == artifact.size, "nothing was fetched a second time"
        assert final.notes == ()
