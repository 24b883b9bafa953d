"""Many small shards, which are published together: all arrive, and one that cannot be stored spoils no other."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modeldist.agent.publishing import BATCH
from modeldist.agent.store import Store
from modeldist.artifact import Digest
from modeldist.errors import StorageError
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, EngineNode, assert_right, model, until

SMALL = [1000 + number for number in range(2 * BATCH + 3)]


def left_behind(node: EngineNode) -> list[str]:
    return [path.name for folder in ("partial", "tmp") for path in (node.store.root / folder).iterdir()]


async def test_more_than_are_published_in_one_go(cluster: EngineCluster) -> None:
    files = model(2 * MIB, *SMALL)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a") as node, cluster.node("b") as other:
        for each in (node, other):
            assert_right(await each.pull(), files)
            assert left_behind(each) == []
        cluster.assert_read_once(artifact)
        assert other.pulls.all()[-1].snapshot().peers == artifact.size


async def test_one_that_cannot_be_stored(cluster: EngineCluster) -> None:
    files = model(*SMALL)
    artifact = cluster.origin.add(REFERENCE, files)
    unlucky = artifact.files[BATCH // 2]
    async with cluster.node("a") as node:
        in_its_way = _blob(node, unlucky.digest)
        in_its_way.mkdir(parents=True)
        with pytest.raises(StorageError):
            await node.pull()
        await until(lambda: not node.engine.node.fetches)
        assert not node.store.has(unlucky.digest)
        assert left_behind(node) == []
        kept = [file.digest for file in artifact.files if node.store.has(file.digest)]
        in_its_way.rmdir()
        assert_right(await node.pull(), files)
        assert all(
            cluster.origin.bytes_read[file.digest] == file.size for file in artifact.files if file.digest in kept
        )


async def test_what_the_disk_says_is_said(cluster: EngineCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.origin.add(REFERENCE, model(*SMALL[:3]))

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Store, "keep_piece_digests", fails)
    async with cluster.node("a") as node:
        with pytest.raises(StorageError, match="Input/output error") as failed:
            await node.pull()
        assert str(node.store.root) in str(failed.value)


def _blob(node: EngineNode, digest: Digest) -> Path:
    value = digest.partition(":")[2]
    return node.store.root / "blobs" / "sha256" / value[:2] / value
