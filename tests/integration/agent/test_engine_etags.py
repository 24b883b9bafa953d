"""Files of which only a name of their content is known, an etag, which proves nothing: also those of one piece."""

from __future__ import annotations

from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, assert_right, model


async def test_they_come_from_other_nodes(cluster: EngineCluster) -> None:
    files = model(1, 100, 200_000, 2 * MIB)
    artifact = cluster.origin.add(REFERENCE, files, etags=True)
    async with cluster.node("first") as first, cluster.node("second") as second:
        await first.pull()
        path, final = await second.pull_and_tell()
        assert_right(path, files)
        assert (final.peers, final.origin, final.notes) == (artifact.size, 0, ())
    cluster.assert_read_once(artifact)
