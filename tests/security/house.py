"""What the tests of who may do what ask of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from modeldist.agent.local_client import LocalAgent
from modeldist.artifact import Digest
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub, HubFile
from tests.servers.images import Layout
from tests.servers.registry import Registry

GRANTED = "hf_granted_5f2d"  # reads the private repository of the hub
NODES = "hf_of_the_nodes_91c7"  # so do the nodes
SCRAPES = "scrapes_4d1f0b7c22e9a6"  # reads metrics
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class House:
    """`gateway` is what programs on the node have in HF_ENDPOINT; the node holds `org/private` of the hub, and `image`
    is the registry's private one."""

    cluster: Cluster
    hub: Hub
    registry: Registry
    image: Layout
    gateway: str

    @property
    def agent(self) -> LocalAgent:
        return LocalAgent(Path(self.cluster.environment(0)["MODELDIST_SOCKET"]))

    @property
    def metrics(self) -> str:
        """host:port where the agent's metrics are read."""
        return re.findall(r"http://([\d.:]+)/metrics", self.cluster.agents[0].log)[-1]

    @property
    def pieces(self) -> str:
        """host:port of the agent's piece server."""
        return str(self.agent.status()["address"])

    @property
    def weights(self) -> HubFile:
        """A file of the private model, a shard that the node holds."""
        repo = self.hub.repos["org/private"]
        return repo.commits[repo.refs["main"]][WEIGHTS]

    @property
    def shard(self) -> Digest:
        return Digest(f"sha256:{self.weights.sha256}")


def all_routes(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    """Of an application, those of its routers too. AssertionError for what it cannot look into."""
    for route in routes:
        nested = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if nested:
            yield from all_routes(nested)
        else:
            assert isinstance(route, Route | WebSocketRoute | Mount), f"{route!r}: this walk cannot follow it"
            yield route
