"""docs/rdma.md's commands, where there is no device: what is found is none, agents start all the same. With
devices agents are tested in a machine of their own (`make test-rdma`). `make docs` runs this."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.documentation import page
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub

PAGE = Path(__file__).parents[2] / "docs" / "rdma.md"
PAGES = [PAGE]


def test_commands(tmp_path: Path) -> None:
    with Hub() as hub:
        hub.commit("org/model", {"config.json": b"{}", "model.safetensors": b"x" * 100_000})
        with Cluster(tmp_path / "cluster", 0, environment={"HF_ENDPOINT": hub.url}) as cluster:
            environment = {
                **cluster.environment(0),
                "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
                "MODELDIST_AGENT_CONTROL": cluster.url,
                "MODELDIST_AGENT_TOKEN_FILE": str(cluster.home / "control" / "agent.token"),
                "MODELDIST_AGENT_LISTEN": "127.0.0.1:0",
            }
            places = {"org/model:tag": "hf://org/model"}
            assert page.run(PAGE, page.examples(PAGE.read_text()), tmp_path, places, environment) == 6
