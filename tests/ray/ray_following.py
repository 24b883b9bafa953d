"""A fourth node joins the Ray cluster: it gets what was prefetched before, and the origin is read no more."""

from __future__ import annotations

import pytest
import ray

from modeldist.errors import AgentError, NotFound, UsageError
from modeldist.ray import followed, local_path, prefetch, unfollow
from tests.ray.conftest import NODES
from tests.ray.machines import Machines
from tests.ray.raylets import Raylets
from tests.servers.cluster import wait_until
from tests.servers.oci_faults import FaultyRegistry


def test_a_node_that_joins_gets_what_the_others_have(
    machines: Machines, raylets: Raylets, faulty: FaultyRegistry, reference: str
) -> None:
    (before,) = prefetch(reference, follow=True)
    read = sum(exchange.sent for exchange in faulty.seen("blobs", "GET"))
    faulty.add_model(reference.split("/", 1)[1].removesuffix(":v1"), "v1", {"config.json": b'{"moved": true}'})
    node = raylets.join(machines.environment_inside(NODES), machines.command(NODES))
    try:
        wait_until("the missing agent to be told of", lambda: node in followed()[0].failures, seconds=60)
        (now,) = followed()
        assert isinstance(now.failures[node], AgentError)
        assert now.resolved == before.resolved
        machines.add()
        wait_until("the node to have it", lambda: node in followed()[0].copies, seconds=60)
        assert followed()[0].copies[node].path == before.path
        assert followed()[0].failures == {}
        assert followed()[0].copies[node].origin == 0
        assert (
            sum(exchange.sent for exchange in faulty.seen("blobs", "GET")) < read + 10_000
        )  # its config, to resolve it
        assert sorted(followed()[0].copies) == sorted(each["NodeID"] for each in ray.nodes() if each["Alive"])
    finally:
        unfollow(before.resolved)
        raylets.leave(NODES)
        wait_until("the cluster to miss it", lambda: sum(n["Alive"] for n in ray.nodes()) == NODES, seconds=90)
    assert followed() == []
    with pytest.raises(NotFound, match="is not followed"):
        unfollow(before.resolved)


def test_the_follower_goes_on_after_it_died(raylets: Raylets, reference: str) -> None:
    (model,) = prefetch(reference, follow=True)
    try:
        wait_until("all", lambda: len(followed()[0].copies) == NODES, seconds=60)
        ray.kill(ray.get_actor(f"follow:{model.resolved}", "modeldist"), no_restart=False)
        wait_until("all again", lambda: _copies_now() == NODES, seconds=60)
    finally:
        unfollow(model.resolved)


def _copies_now() -> int:
    try:
        return len(followed()[0].copies)
    except ray.exceptions.RayActorError:  # it is being started again
        return 0


def test_only_all_nodes_can_be_followed(raylets: Raylets, reference: str) -> None:
    with pytest.raises(UsageError, match="all nodes or not at all"):
        prefetch(reference, "here", follow=True)
    assert local_path(reference).is_absolute()
    assert followed() == []
