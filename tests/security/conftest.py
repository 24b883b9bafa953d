"""A whole house on loopback: a control plane, an agent with a gateway, a hub and a registry that ask who comes."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.house import GRANTED, NODES, SCRAPES, WEIGHTS, House
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub
from tests.servers.images import image_layout, needs_skopeo, push
from tests.servers.registry import PASSWORD, USERNAME, Registry


@pytest.fixture(scope="module")
def open_home() -> Iterator[Path]:
    """A directory that everybody may enter, unlike pytest's own: what keeps others out must be what is in it."""
    home = Path(tempfile.mkdtemp(prefix="modeldist-house-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def house(open_home: Path) -> Iterator[House]:
    needs_skopeo()
    with Hub() as hub, Registry(open_home / "registry", auth="basic") as registry:
        hub.commit("org/private", {"config.json": b'{"secret": "of-the-hub"}', WEIGHTS: b"secret weights" * 9})
        hub.restrict("org/private", [NODES, GRANTED], gated=False)
        image = image_layout(open_home / "image", "private", {"linux/amd64": 1}, size=50_000)
        push(image, registry.host, "org/private:v1", credentials=f"{USERNAME}:{PASSWORD}")
        (open_home / "metrics.token").write_text(SCRAPES)
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": NODES,
            "HF_HOME": str(open_home / "hf"),
            "MODELDIST_AGENT_GATEWAY": "127.0.0.1:0",
            "MODELDIST_AGENT_MIRROR": registry.host,
            "MODELDIST_AGENT_METRICS": "127.0.0.1:0",
            "MODELDIST_AGENT_METRICS_TOKEN_FILE": str(open_home / "metrics.token"),
        }
        with Cluster(open_home / "cluster", agents=1, environment=environment) as cluster:
            gateway = re.findall(r"hf_endpoint\W+(http://127\.0\.0\.1:\d+)", cluster.agents[0].log)[-1]
            house = House(cluster, hub, registry, image, gateway)
            *_, last = house.agent.events(house.agent.start_pull("hf://org/private").pull)
            assert last.state == "done", last.error
            yield house
