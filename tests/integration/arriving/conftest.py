"""A hub whose answers a test can hold, and nodes that bring models from it: one with an agent, one without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from modeldist.agent.this_node import Node, node
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub


def content(seed: str, size: int) -> bytes:
    return Random(seed).randbytes(size)


@pytest.fixture(scope="session")
def served_hub() -> Iterator[Hub]:
    with Hub() as served:
        yield served


@pytest.fixture
def hub(served_hub: Hub) -> Iterator[Hub]:
    yield served_hub
    served_hub.heal()


@pytest.fixture(scope="session")
def agent_here(served_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with an agent."""
    home = tmp_path_factory.mktemp("arriving")
    with Cluster(home, agents=1, environment={"HF_ENDPOINT": served_hub.url}):
        yield node(socket=home / "node-0" / "agent.sock")


@pytest.fixture(params=["agent", "embedded"])
def here(request: pytest.FixtureRequest, hub: Hub, tmp_path: Path) -> Node:
    if request.param == "agent":
        found: Node = request.getfixturevalue("agent_here")
        return found
    return node(store=tmp_path / "store", hf_endpoint=hub.url, agent=False)
