"""Two agents with gateways in front of one hub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from huggingface_hub import close_session

from tests.integration.gateway.gateway_nodes import TOKEN, Nodes
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    home = tmp_path_factory.mktemp("gateways")
    with Hub() as hub:
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home / "hf"),
            "MODELDIST_AGENT_GATEWAY": "127.0.0.1:0",
        }
        with Cluster(home, agents=2, environment=environment) as cluster:
            try:
                yield Nodes(hub, cluster)
            finally:
                close_session()  # huggingface_hub's own, which keeps connections to gateways that end now
