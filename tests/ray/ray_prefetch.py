"""`modeldist.ray.prefetch` on a real cluster of three raylets, each with a running agent (`make test-ray`)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray

from modeldist.agent.local_client import LocalAgent
from modeldist.errors import AgentError, NotFound, PullFailed, UsageError
from modeldist.ray import Prefetched, local_path, prefetch, prefetch_async
from tests.ray.conftest import NODES, WEIGHTS
from tests.ray.machines import Machines
from tests.ray.raylets import Raylets
from tests.servers.cluster import wait_until
from tests.servers.faults import Hold, held
from tests.servers.oci_faults import FaultyRegistry

pytestmark = pytest.mark.usefixtures("raylets")


def seen_outside(machines: Machines, index: int, path: Path) -> Path:
    """A path of one machine, as this program sees it."""
    return machines.home / f"node-{index}" / path.relative_to(machines.here)


def pulls(machines: Machines, index: int, reference: str) -> int:
    """How many its agent was asked for."""
    return sum(pull.reference == reference for pull in LocalAgent(machines.socket(index)).pulls())


def test_every_node_gets_it_at_one_path_and_the_origin_is_read_once(
    machines: Machines, faulty: FaultyRegistry, reference: str
) -> None:
    (found,) = prefetch(reference)
    assert sorted(found.copies) == sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
    assert found.path.is_relative_to(machines.here)
    for index in range(NODES):
        path = seen_outside(machines, index, found.path)
        assert (path / "config.json").read_bytes() == b"{}"
        assert (path / "model.safetensors").read_bytes().startswith(WEIGHTS)
    size = len(WEIGHTS) + len(f"org/{reference}")
    assert len(WEIGHTS) < sum(exchange.sent for exchange in faulty.seen("blobs", "GET")) < size + 10_000
    assert sum(copy.origin for copy in found.copies.values()) < size
    assert all(copy.origin + copy.peers + copy.local > len(WEIGHTS) for copy in found.copies.values())


def test_whoever_asks_while_it_comes_waits_for_the_same_pull(
    machines: Machines, faulty: FaultyRegistry, reference: str
) -> None:
    hold = Hold()
    faulty.inject(held(hold, times=None), on="manifests")
    try:
        with ThreadPoolExecutor(4) as several:
            for asking in [several.submit(prefetch, reference, timeout=0.5) for _ in range(4)]:
                with pytest.raises(PullFailed, match=r"3 of 3 prefetches have not ended after 0\.5 seconds"):
                    asking.result()
        wait_until("every agent to be asked", lambda: all(pulls(machines, i, reference) for i in range(NODES)))
        with pytest.raises(PullFailed, match="go on"):
            prefetch(reference, timeout=0.5)
        assert [pulls(machines, index, reference) for index in range(NODES)] == [1] * NODES
    finally:
        hold.resume.set()
    prefetch(reference)
    assert len(WEIGHTS) < sum(exchange.sent for exchange in faulty.seen("blobs", "GET")) < len(WEIGHTS) + 10_000


def test_only_the_nodes_that_are_named(machines: Machines, reference: str) -> None:
    chosen = [ray.nodes()[1]["NodeID"]]
    (found,) = prefetch([reference, reference], nodes=chosen)
    assert list(found.copies) == chosen
    assert sum(pulls(machines, index, reference) for index in range(NODES)) == 1


def test_the_node_that_a_program_runs_on(machines: Machines, reference: str) -> None:
    assert seen_outside(machines, 0, local_path(reference)).is_dir()  # this program is on the head
    assert [pulls(machines, index, reference) for index in range(NODES)] == [1, 0, 0]


def test_async_programs_go_on_meanwhile(faulty: FaultyRegistry, reference: str) -> None:
    hold = Hold()
    faulty.inject(held(hold, times=None), on="manifests")

    async def both() -> list[Prefetched]:
        coming = asyncio.create_task(prefetch_async(reference))
        assert await asyncio.to_thread(hold.reached.wait, 60)
        assert not coming.done()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await prefetch_async(reference)  # who gives up stops nobody
        hold.resume.set()
        return await coming

    try:
        (found,) = asyncio.run(both())
    finally:
        hold.resume.set()
    assert len(found.copies) == NODES
    with pytest.raises(NotFound, match="On the node"):
        asyncio.run(prefetch_async(reference.replace("org/", "absent/")))


def test_what_fails_names_the_node_and_keeps_its_kind(reference: str) -> None:
    with pytest.raises(NotFound, match=r"On the node 127\.0\.0\.\d \(and 2 more\): .*absent"):
        prefetch([reference, reference.replace("org/", "absent/")])
    with pytest.raises(NotFound, match="no node 0123"):
        prefetch(reference, nodes=["0123"])
    with pytest.raises(UsageError, match="No model"):
        prefetch([])
    with pytest.raises(UsageError, match="No node"):
        prefetch(reference, nodes=[])
    with pytest.raises(UsageError, match="no list of nodes"):
        prefetch(reference, nodes="127.0.0.3")
    with pytest.raises(UsageError, match="no timeout"):
        prefetch(reference, timeout=-1)


def test_a_node_without_an_agent_says_so(raylets: Raylets, reference: str, tmp_path: Path) -> None:
    with pytest.raises(
        AgentError, match=r"On the node 127\.0\.0\.2: No agent listens on .*none\.sock.*modeldist agent"
    ):
        prefetch(reference, "here", socket=tmp_path / "none.sock")
