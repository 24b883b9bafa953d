"""kill -9 of agents and of the control plane, at every moment of pulls in a cluster of four."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.moments import MID_TRANSFER, MOMENTS, Moment, new_scene
from tests.chaos.on_disk import assert_right, assert_sound, common, finished, read_ranges, size_of, united
from tests.servers.cluster import Cluster, finish
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry

pytestmark = pytest.mark.slow

Running = subprocess.Popen[str]


Pulling = Callable[[int, str], Running]


@pytest.fixture
def pulling(cluster: Cluster) -> Iterator[Pulling]:
    """Starts pulls on nodes, which end with their agents; none outlives the test."""
    started: list[Running] = []

    def start(index: int, reference: str) -> Running:
        started.append(cluster.pull(index, reference, "--reconnect", "0"))
        return started[-1]

    yield start
    for pull in started:
        if pull.poll() is None:
            pull.kill()
        pull.communicate()


def over(pulls: list[Running]) -> bool:
    return all(pull.poll() is not None for pull in pulls)


def all_right(cluster: Cluster, pulls: list[Running], files: dict[str, bytes]) -> list[dict[str, Any]]:
    results = [finish(pull) for pull in pulls]
    for result in results:
        assert_right(Path(result["path"]), files)
    for index in range(len(cluster.agents)):
        assert_sound(cluster.store(index))
    return results


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_a_killed_agent_resumes(
    moment: Moment, rng: random.Random, cluster: Cluster, pulling: Pulling, faulty: FaultyRegistry
) -> None:
    """Alone in its swarm: whatever it had finished is not fetched again from anywhere."""
    scene = new_scene(faulty, rng)
    victim = rng.randrange(4)
    store = cluster.store(victim)
    pull = pulling(victim, scene.reference)
    moment.await_(scene, [store], lambda: over([pull]))
    cluster.agents[victim].kill()
    _, err = pull.communicate(timeout=30)
    assert pull.returncode in (0, 17), err
    done, asked_before = finished(store, scene.digests), len(scene.reads())
    scene.heal()
    cluster.agents[victim].start()
    cluster.wait_joined(victim)

    (result,) = all_right(cluster, [pulling(victim, scene.reference)], scene.files)
    fetched = read_ranges(scene.reads()[asked_before:])
    assert common(fetched, done) == []
    assert result["local"] == size_of(done)
    assert result["origin"] == scene.size - result["local"]
    assert cluster.run(victim, "ls", "--json").returncode == 0


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_a_killed_control_plane_is_not_even_noticed(
    moment: Moment, rng: random.Random, cluster: Cluster, pulling: Pulling, faulty: FaultyRegistry
) -> None:
    """Four pulls go on, and the new control plane grants nothing that somebody reads or holds: A = 1.00."""
    scene = new_scene(faulty, rng)
    pulls = [pulling(index, scene.reference) for index in range(4)]
    moment.await_(scene, [cluster.store(index) for index in range(4)], lambda: over(pulls))
    cluster.server.kill()
    cluster.start_server()
    scene.heal()

    results = all_right(cluster, pulls, scene.files)
    asked = read_ranges(scene.reads())
    assert size_of(asked) == scene.size, "every byte is asked for once"
    assert sum(result["origin"] for result in results) == scene.size


def test_an_agent_killed_in_a_swarm(
    rng: random.Random, cluster: Cluster, pulling: Pulling, faulty: FaultyRegistry
) -> None:
    """The others finish. Only what no other node had finished is read again, and the node itself resumes."""
    scene = new_scene(faulty, rng)
    victim = rng.randrange(4)
    pulls = [pulling(index, scene.reference) for index in range(4)]
    stores = [cluster.store(index) for index in range(4)]
    MID_TRANSFER.await_(scene, stores, lambda: over(pulls))
    others = united(*(finished(store, scene.digests) for index, store in enumerate(stores) if index != victim))
    cluster.agents[victim].kill()
    asked_before = len(scene.reads())
    pulls.pop(victim).communicate(timeout=30)
    lost = finished(stores[victim], scene.digests)
    scene.heal()
    for pull in pulls:
        assert_right(Path(finish(pull)["path"]), scene.files)
    asked = read_ranges(scene.reads())
    assert common(read_ranges(scene.reads()[asked_before:]), others) == []
    again = size_of(asked) - scene.size
    print(f"asked for again: {again} of {scene.size} bytes; the victim had finished {size_of(lost)}")

    cluster.agents[victim].start()
    cluster.wait_joined(victim)
    before = len(scene.reads())
    all_right(cluster, [pulling(victim, scene.reference)], scene.files)
    assert len(scene.reads()) == before, "the others have everything"


def test_the_registrys_own_log_after_a_killed_control_plane(
    rng: random.Random, cluster: Cluster, pulling: Pulling, tmp_path: Path
) -> None:
    """A = 1.00 in the access log of a real registry, whose bytes come as fast as they can."""
    files = {"config.json": b"{}", "model.safetensors": rng.randbytes(60_000_000)}
    model = tmp_path / "model"
    model.mkdir()
    for name, content in files.items():
        (model / name).write_bytes(content)
    with Registry(tmp_path / "registry") as registry:
        reference = f"{registry.host}/org/model:v1"
        for command in (("build", str(model), "-t", reference), ("push", reference)):
            done = cluster.run(0, *command)
            assert done.returncode == 0, done.stderr
        registry.clear_log()
        pulls = [pulling(index, reference) for index in range(4)]
        wanted = rng.uniform(0.05, 0.9) * len(files["model.safetensors"])
        while sum(access.bytes for access in registry.access_log(wait=0.0)) < wanted and not over(pulls):
            pass
        cluster.server.kill()
        cluster.start_server()
        all_right(cluster, pulls, files)
        weights = [access for access in registry.access_log() if access.partial]
        assert sum(access.bytes for access in weights) == sum(map(len, files.values()))
