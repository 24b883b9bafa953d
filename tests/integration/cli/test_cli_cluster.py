"""A control plane and agents as processes: the main job, and kill -9 of each of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modeldist.cli import units
from modeldist.errors import ModelPinned, NotFound
from rdma import discover, rails
from tests.servers import faults
from tests.servers.cluster import Cluster, finish, wait_until
from tests.servers.oci_faults import FaultyRegistry

FILES = {"config.json": b"{}", "model.safetensors": os.urandom(6_000_000)}
SIZE = sum(map(len, FILES.values()))


@pytest.fixture
def reference(faulty: FaultyRegistry) -> str:
    faulty.add_model("org/model", "v1", FILES)
    return f"{faulty.host}/org/model:v1"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster", 2) as cluster:
        yield cluster


def assert_right(path: str) -> None:
    assert {file.name: file.read_bytes() for file in Path(path).iterdir()} == FILES


def shard_bytes(faulty: FaultyRegistry) -> int:
    return sum(exchange.sent for exchange in faulty.seen("blobs", "GET") if exchange.range)


def test_two_agents_read_the_registry_once(cluster: Cluster, faulty: FaultyRegistry, reference: str) -> None:
    results = [finish(pull) for pull in [cluster.pull(index, reference) for index in range(2)]]
    for result in results:
        assert_right(result["path"])
    assert sum(result["origin"] for result in results) == SIZE
    again = cluster.run(0, "pull", reference)
    assert again.stdout.strip() == results[0]["path"]
    assert (
        "model.safetensors"
        in cluster.run(0, "why", reference).stdout + cluster.run(0, "why", "--json", reference).stdout
    )
    assert cluster.run(0, "ls", "--json").returncode == 0
    assert cluster.run(0, "status").returncode == 0


def test_an_agent_says_in_one_line_whether_it_has_rdma(cluster: Cluster) -> None:
    (said,) = [line for line in cluster.agents[0].log.splitlines() if "RDMA" in line]
    assert ("pieces move over TCP" in said) == (not rails(discover()))


@pytest.mark.slow
@pytest.mark.parametrize("away", ["gone", "limiting"])
def test_a_node_that_comes_while_the_origin_is_away_gets_what_others_have(
    cluster: Cluster, faulty: FaultyRegistry, reference: str, away: str
) -> None:
    finish(cluster.pull(0, reference))
    if away == "gone":
        faulty.die()
    else:
        faulty.inject(faults.rate_limited("3600"))
    late = finish(cluster.pull(1, reference))
    assert_right(late["path"])
    assert late["peers"] == SIZE
    assert f"Using the copy of {reference} that other nodes have, which may not be the newest" in late["stale"]
    assert "that is here" in finish(cluster.pull(1, reference))["stale"]
    assert cluster.run(1, "pull", reference.replace("model:v1", "other:v1")).returncode in (7, 8)


def test_preheat_puts_a_model_on_every_node(cluster: Cluster, reference: str) -> None:
    done = cluster.run(0, "preheat", reference, "--all", "--wait", "--server", cluster.url)
    assert done.returncode == 0, done.stderr
    for index in range(2):
        result = finish(cluster.pull(index, reference))
        assert_right(result["path"])
        assert result["local"] == SIZE


@pytest.fixture
def told(cluster: Cluster) -> Callable[..., str]:
    """What a command on node 0 prints; the exit code it should have comes first."""

    def run(code: int, *arguments: str) -> str:
        done = cluster.run(0, *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_models_are_kept_and_removed_on_named_nodes(cluster: Cluster, reference: str, told: Callable[..., str]) -> None:
    finish(cluster.pull(1, reference))
    assert f"{reference} on node-1: pinned\n" in told(0, "pin", reference, "--nodes", "node-1")
    assert "is not there" in told(NotFound.exit_code, "pin", reference, "--nodes", "node-0")
    said = told(ModelPinned.exit_code, "rm", reference, "--all")
    assert f"{reference} on node-0: is not there" in said
    assert "node-1: failed" in said
    kept = json.loads(told(0, "unpin", reference, "--all", "--json"))
    assert sorted(node["state"] for node in kept[0]["nodes"]) == ["done", "done"]
    assert f"node-1: removed, {units.size(SIZE)} freed" in told(0, "rm", reference, "--nodes", "node-0,node-1")
    assert "None of these nodes has" in told(NotFound.exit_code, "rm", reference, "--all")
    assert "Which nodes?" in told(2, "rm", reference, "--server", cluster.url)
    assert "several ways" in told(2, "pin", reference, "--all", "--nodes", "node-1")
    assert "no-such-node" in told(NotFound.exit_code, "pin", reference, "--nodes", "no-such-node")


def test_a_killed_control_plane_does_not_stop_a_pull(cluster: Cluster, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.slow(1_000_000), on="blobs")
    pull = cluster.pull(0, reference)
    wait_until("a third of the model", lambda: shard_bytes(faulty) > 2_000_000)
    cluster.server.kill()
    cluster.start_server()
    faulty.heal()
    assert_right(finish(pull)["path"])


def test_an_oci_layout_as_the_origin_of_a_cluster(tmp_path: Path) -> None:
    """What stands in for a registry where there is none; only below the directories the nodes were given."""
    model, layout = tmp_path / "model", tmp_path / "origin" / "layout"
    model.mkdir()
    for name, content in FILES.items():
        (model / name).write_bytes(content)
    with Cluster(tmp_path / "cluster", 2, file_roots=(tmp_path / "origin",)) as cluster:
        assert cluster.run(0, "build", str(model), "-t", "org/model:v1", "-o", str(layout)).returncode == 0
        results = [finish(pull) for pull in [cluster.pull(index, f"oci-layout:{layout}") for index in range(2)]]
        for result in results:
            assert_right(result["path"])
        assert sum(result["origin"] for result in results) == SIZE
        denied = cluster.run(0, "pull", f"oci-layout:{tmp_path / 'elsewhere'}")
        assert denied.returncode == 6
        assert "--file-root" in denied.stderr
