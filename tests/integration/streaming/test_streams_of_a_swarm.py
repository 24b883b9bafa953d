"""Nodes that stream the same model at once read each byte of it from the origin once, and all of them get it right."""

from __future__ import annotations

import threading
from pathlib import Path

import modeldist
from modeldist.agent.this_node import node
from tests.integration.streaming.weights import model, same, tensors
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub


def test_two_nodes_stream_one_model(tmp_path: Path) -> None:
    files = model(1, 2, 3, rows=1024)
    right = {**tensors(1, rows=1024), **tensors(2, rows=1024), **tensors(3, rows=1024)}
    found: list[dict[str, object]] = [{}, {}]

    def stream(index: int, home: Path) -> None:
        here = node(socket=home / f"node-{index}" / "agent.sock")
        found[index].update(modeldist.stream("hf://org/model", framework="np", here=here))

    with Hub() as hub, Cluster(tmp_path, agents=2, environment={"HF_ENDPOINT": hub.url}):
        hub.commit("org/model", files)
        threads = [threading.Thread(target=stream, args=(index, tmp_path)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        read = sum(request.body_bytes for request in hub.asked(".safetensors", "GET"))
    for tensors_of_one in found:
        assert tensors_of_one.keys() == right.keys()
        assert all(same(tensors_of_one[name], array) for name, array in right.items())  # type: ignore[arg-type]
    size = sum(len(body) for path, body in files.items() if path.endswith(".safetensors"))
    assert size <= read < 1.5 * size, "each byte once, but for what a node that stands still is late with"
