"""What is followed. Nodes join in `ray_agents.py` and `ray_serve.py`, where they get it."""

from __future__ import annotations

import pytest
import ray

from modeldist.errors import NotFound, UsageError
from modeldist.ray import followed, local_path, prefetch, unfollow
from tests.ray.conftest import NODES
from tests.ray.raylets import Raylets
from tests.servers.cluster import wait_until


def test_the_follower_goes_on_after_it_died(raylets: Raylets, reference: str) -> None:
    (model,) = prefetch(reference, follow=True)
    try:
        wait_until("all", lambda: len(followed()[0].copies) == NODES, seconds=60)
        ray.kill(ray.get_actor(f"follow:{model.resolved}", "modeldist"), no_restart=False)
        wait_until("all again", lambda: len(followed()[0].copies) == NODES, seconds=60)
    finally:
        unfollow(model.resolved)


def test_what_is_not_followed_cannot_be_unfollowed(raylets: Raylets, reference: str) -> None:
    (model,) = prefetch(reference, follow=True)
    unfollow(model.resolved)
    assert followed() == []
    with pytest.raises(NotFound, match="is not followed"):
        unfollow(model.resolved)


def test_only_all_nodes_can_be_followed(raylets: Raylets, reference: str) -> None:
    with pytest.raises(UsageError, match="all nodes or not at all"):
        prefetch(reference, "here", follow=True)
    assert local_path(reference).is_absolute()
    assert followed() == []
