"""A transfer that takes longer than a capability is good for."""

from __future__ import annotations

import time

import pytest

from modeldist.agent import engine as engine_module
from modeldist.artifact import Digest
from modeldist.control.inprocess import InProcessControl
from modeldist.transfer.base import ServerLimits
from modeldist.transfer.capability import CapabilityChecker, CapabilityIssuer, new_private_key
from modeldist.transfer.cluster_time import ClusterTime
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, assert_right, model, until

HOUR = 3600.0


async def test_a_new_one_is_shown_before_the_old_one_ends(
    cluster: EngineCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "RENEW", 0.05)
    files = model(12 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    up = [0.0]
    issuer = CapabilityIssuer(new_private_key(), ClusterTime(1e9, clock=lambda: up[0]))
    opens = CapabilityChecker(issuer.public_key, issuer.now)
    shown: set[bytes] = set()
    refused: list[bytes] = []

    def check(capability: bytes, child: str, shard: Digest) -> bool:
        shown.add(capability)
        if opens(capability, child, shard):
            return True
        refused.append(capability)
        return False

    cluster.control = InProcessControl(cluster.origin, time.monotonic, capabilities=issuer)
    limits = ServerLimits(upload_rate=6.0 * MIB)
    async with cluster.node("parent", limits=limits, check=check) as parent, cluster.node("child") as child:
        await parent.pull()
        pull = child.pulls.start(REFERENCE)
        await until(lambda: bool(shown))
        up[0] += 13 * HOUR
        await until(lambda: len(shown) == 2)
        up[0] += 13 * HOUR  # the first one is two hours too old
        assert_right(await child.pulls.wait(pull), files)
        assert pull.snapshot().peers == artifact.size
    assert len(shown) > 1 and not refused
