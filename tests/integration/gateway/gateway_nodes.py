"""Agents with gateways, and models to get through them."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from tests.servers.cluster import Cluster
from tests.servers.hub import Hub

TOKEN = "hf_of_the_nodes"


class Nodes:
    """`urls[n]` is what programs on node n have in HF_ENDPOINT."""

    def __init__(self, hub: Hub, cluster: Cluster) -> None:
        self.hub = hub
        self.cluster = cluster
        self.urls = [gateway_of(agent.log) for agent in cluster.agents]


def gateway_of(log: str) -> str:
    found = re.findall(r"hf_endpoint\W+(http://127\.0\.0\.1:\d+)", log)
    assert found, log
    return str(found[-1])


def weights(name: str, size: int = 3_000_000) -> bytes:
    return Random(name).randbytes(size)


def model(name: str) -> dict[str, bytes]:
    """The files of a model, each like no other's."""
    return {
        "config.json": f'{{"_name_or_path": "{name}"}}'.encode(),
        "empty.txt": b"",
        "model-00001-of-00002.safetensors": weights(f"{name}1"),
        "model-00002-of-00002.safetensors": weights(f"{name}2"),
        "original/consolidated.00.pth": weights(f"{name}3", 200_000),
        "README.md": f"# {name}\n".encode(),
        "onnx/deep/tokenizer with space.json": f'{{"of": "{name}"}}'.encode(),
    }


def files_in(folder: Path | str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
