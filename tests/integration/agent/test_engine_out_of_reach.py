"""The only holder is there for the control plane, and of no use to another node: what it holds is read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from modeldist.artifact import Digest
from modeldist.scheduler.phase2 import Phase2Config
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, EngineNode, assert_right, model

Fault = Callable[[EngineNode, Digest], None]


def damaged(node: EngineNode, digest: Digest) -> None:
    path = node.store.path(digest)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))


def gone(node: EngineNode, digest: Digest) -> None:
    path = node.store.path(digest)
    assert path is not None
    path.unlink()


@asynccontextmanager
async def unreachable(node: EngineNode) -> AsyncIterator[None]:
    await asyncio.to_thread(node.server.close)
    yield


@asynccontextmanager
async def mute(node: EngineNode) -> AsyncIterator[None]:
    """Something takes connections there and says nothing."""
    await asyncio.to_thread(node.server.close)
    host, port = node.server.address.rsplit(":", 1)

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, host, int(port)):
        yield


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeldist.agent.engine.Phase2Config", _Impatient)


def _Impatient(**limits: object) -> Phase2Config:
    return Phase2Config(**limits, request_again=0.5, out_of_reach=3.0, cooldown=0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [MIB // 2, 12 * MIB], ids=["one piece", "several pieces"])
@pytest.mark.parametrize("fault", [damaged, gone])
async def test_its_copy_is_of_no_use(cluster: EngineCluster, fault: Fault, size: int) -> None:
    files = model(size)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("holder") as holder, cluster.node("child") as child:
        await holder.pull()
        fault(holder, artifact.shards[0].digest)
        path, final = await child.pull_and_tell()
        assert_right(path, files)
        assert any("No node that holds part-0.safetensors serves it" in note for note in final.notes)
        intake = child.engine.node.intake
        assert intake.wrong_pieces if fault is damaged else intake.peer_failures["refused"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [MIB // 2, 12 * MIB], ids=["one piece", "several pieces"])
@pytest.mark.parametrize("fault", [unreachable, mute])
async def test_nobody_gets_there(
    cluster: EngineCluster, fault: Callable[[EngineNode], AsyncIterator[None]], size: int
) -> None:
    files = model(size)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("holder") as holder, cluster.node("a") as a, cluster.node("b") as b:
        await holder.pull()
        async with fault(holder):  # type: ignore[attr-defined]
            for snapshot in await asyncio.gather(a.pull(), b.pull()):
                assert_right(snapshot, files)
    assert cluster.origin.bytes_read[artifact.shards[0].digest] == 2 * size, "once more for both"
