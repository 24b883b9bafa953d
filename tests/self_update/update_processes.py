"""A cluster updates itself: releases, good and bad, rolled out onto real processes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist import __version__
from modeldist.agent.local_client import LocalAgent
from modeldist.client import Client
from modeldist.control.views import RolloutView
from modeldist.scheduler.pieces import piece_size_for
from modelpack.trust.keys import PrivateKey, generate
from tests.chaos.moments import slow_scene
from tests.chaos.on_disk import assert_right, assert_sound
from tests.servers.cluster import Process, wait_until
from tests.servers.launched_cluster import LaunchedCluster
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.releases import CRASHES, build, changed, release

NEXT = "0.2.0"
AGENTS = 4
WEIGHTS = 120_000_000
RATE = 300_000  # bytes/s of one connection to the origin
STREAMS = 2  # at the origin, all nodes together
MUTE = """
async def _mute(self):
    await asyncio.sleep(3600)


WebSocketLink._connect_to_one = _mute
"""
QUICK = {"health": 1.0, "within": 40.0, "drain": 60.0}


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return generate()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build"), NEXT)


@pytest.fixture(scope="module")
def registry() -> Iterator[FaultyRegistry]:
    """Has the releases."""
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def origin() -> Iterator[FaultyRegistry]:
    """Has the model."""
    with FaultyRegistry() as registry:
        yield registry


def ended(client: Client, rollout: str, *, seconds: float = 240) -> RolloutView:
    found: list[RolloutView] = []

    def over() -> bool:
        try:
            found[:] = [client.get_rollout(rollout)]
        except Exception:
            return False  # it restarts
        return found[0].state in ("done", "failed", "aborted")

    try:
        wait_until("the rollout to end", over, seconds=seconds)
    except RuntimeError as error:
        raise AssertionError(f"{error}: {found}") from None
    return found[0]


@pytest.mark.timeout(400)
def test_a_control_plane_and_four_agents_update_themselves_during_a_transfer(
    tmp_path: Path, key: PrivateKey, wheel: Path, registry: FaultyRegistry, origin: FaultyRegistry
) -> None:
    """Nothing is lost, all is read from the origin once, and a command waits for its agent and finds its pull."""
    scene = slow_scene(origin, random.Random(4), weights=WEIGHTS, rate=RATE)
    registry.add_model("ops/modeldist", NEXT, release(wheel, tmp_path, key))
    environment = {"MODELDIST_SERVER_ORIGIN_STREAMS": str(STREAMS)}
    with LaunchedCluster(tmp_path / "cluster", AGENTS, key.public, environment=environment) as cluster:
        with Client(cluster.url, cluster.token("admin")) as client:
            pids = [agent.pid for agent in cluster.agents]
            pull = client.create_pull(scene.reference, "all")
            wait_until("the pull to begin", lambda: scene.sent() > piece_size_for(WEIGHTS))
            command = cluster.pull(0, scene.reference)
            agent = LocalAgent(Path(cluster.environment(0)["MODELDIST_SOCKET"]))
            wait_until("that of the command", lambda: len(agent.pulls()) == 2)
            rollout = client.create_rollout(
                f"{registry.host}/ops/modeldist:{NEXT}", "all", waves=[100], most_away=2, control_plane=True, **QUICK
            )
            told = ended(client, rollout.id)
            between = scene.sent()
            assert told.state == "done", (told, cluster.server.log[-6000:], cluster.agents[0].log[-6000:])
            assert between < scene.size, "the pull was over before the rollout was"
            assert client.status().version == NEXT
            assert {node.version for node in client.list_nodes().nodes} == {NEXT}
            assert {one.state for one in told.nodes} == {"done"}
            assert client.get_pull(pull.id).state == "running"
            origin.heal()
            after = client.wait(pull.id, timeout=120)
        out, err = command.communicate(timeout=60)
        assert command.returncode == 0, err
        assert err.count("The agent went away in mid-pull") == 1
        for path in (json.loads(out)["path"], *(node.path for node in after.nodes)):
            assert_right(Path(path), scene.files)
        assert sum(one.reference == scene.reference for one in agent.pulls()) == 2, "none was begun anew"
        for index in range(AGENTS):
            assert_sound(cluster.store(index))
        assert [agent.pid for agent in cluster.agents] == pids and all(agent.running for agent in cluster.agents)
    print(
        f"\n{AGENTS} agents and the control plane updated, at {between * 100 // scene.size}% of a pull: "
        f"A = {scene.sent() / scene.size:.4f}, {scene.sent() - scene.size} bytes read again"
    )
    assert scene.sent() == scene.size


@pytest.mark.timeout(400)
def test_bad_releases_stop_at_the_canary_and_go_back(
    tmp_path: Path, key: PrivateKey, wheel: Path, registry: FaultyRegistry
) -> None:
    good = release(wheel, tmp_path, key)
    tampered = {name: data + b"\0" if name.endswith(".whl") else data for name, data in good.items()}
    crashing = changed(wheel, tmp_path, "0.3.0", {"modeldist/cli/commands/agent.py": CRASHES})
    mute = changed(wheel, tmp_path, "0.3.1", {"modeldist/agent/link.py": MUTE})
    bad = {
        "tampered": (tampered, "not what was signed"),
        "foreign": (release(wheel, tmp_path / "foreign", generate()), "none of the keys"),
        "expired": (release(wheel, tmp_path / "old", key, now=time.time() - 7200), "expired"),
        "crashing": (release(crashing, tmp_path, key), "it ended by itself, with exit code 1, 3 times"),
        "mute": (release(mute, tmp_path, key), "did not come up within 12 seconds"),
    }
    with LaunchedCluster(tmp_path / "cluster", AGENTS, key.public, without=(3,)) as cluster:
        launched = [cluster.agents[index].pid for index in range(AGENTS)]
        with Client(cluster.url, cluster.token("admin")) as client:
            for tag, (files, why) in bad.items():
                registry.add_model("ops/bad", tag, files)
                rollout = client.create_rollout(
                    f"{registry.host}/ops/bad:{tag}", "all", health=1.0, within=12.0, drain=5.0
                )
                told = ended(client, rollout.id)
                assert told.state == "failed", (tag, told, cluster.agents[0].log[-4000:])
                touched = [one for one in told.nodes if one.state not in ("waiting", "refused")]
                assert len(touched) == 1, told
                assert why in told.reason, told.reason
                wait_until(
                    "the canary to be back",
                    lambda: [node.connected for node in client.list_nodes().nodes] == [True] * AGENTS,
                )
                assert {node.version for node in client.list_nodes().nodes} == {__version__}
            registry.add_model("ops/modeldist", NEXT, good)
            left_out = client.create_rollout(f"{registry.host}/ops/modeldist:{NEXT}", ["node-3"])
            told = ended(client, left_out.id)
            assert (told.state, told.states) == ("done", {"refused": 1}), told
            refused = next(one for one in told.nodes if one.state == "refused")
            assert refused.error is not None and "modeldist launch" in refused.error.message
        assert [agent.pid for agent in cluster.agents] == launched


@pytest.mark.timeout(300)
def test_a_package_upgraded_by_hand_runs_and_is_what_a_rollout_goes_back_to(
    tmp_path: Path, key: PrivateKey, wheel: Path, registry: FaultyRegistry
) -> None:
    by_hand = tmp_path / "installed"
    newer = changed(wheel, tmp_path, "0.3.0", {})
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", str(by_hand), str(newer)], check=True, timeout=120)
    crashing = changed(wheel, tmp_path, "0.4.0", {"modeldist/cli/commands/agent.py": CRASHES})
    registry.add_model("ops/modeldist", "hand", release(wheel, tmp_path, key))
    registry.add_model("ops/modeldist", "crash", release(crashing, tmp_path, key))
    with LaunchedCluster(tmp_path / "cluster", 1, key.public) as cluster:
        agent = cluster.agents[0]
        with Client(cluster.url, cluster.token("admin")) as client:

            def rolled_out(tag: str) -> RolloutView:
                begun = client.create_rollout(f"{registry.host}/ops/modeldist:{tag}", "all", waves=[100], **QUICK)
                return ended(client, begun.id)

            told = rolled_out("hand")
            assert (told.state, cluster.status(0)["version"]) == ("done", NEXT), (told, agent.log[-4000:])
            assert agent.stop() == 0
            agent.command = (sys.executable, "-P", "-m", "modeldist")  # not the checkout's, where this happens to run
            agent.environment["PYTHONPATH"] = str(by_hand)
            agent.start()
            cluster.wait_joined(0)
            assert (cluster.status(0)["version"], cluster.status(0)["launched"]) == ("0.3.0", True)
            assert f"0.3.0 runs, as installed: it is newer than {NEXT}, which a rollout brought" in agent.log
            told = rolled_out("crash")
            assert told.state == "failed" and "3 times" in told.reason, (told, agent.log[-4000:])
            wait_until("it to be back", lambda: [node.connected for node in client.list_nodes().nodes] == [True])
            assert cluster.status(0)["version"] == "0.3.0"


@pytest.mark.timeout(300)
def test_killed_in_an_installation_and_in_a_switch(
    tmp_path: Path, key: PrivateKey, wheel: Path, registry: FaultyRegistry
) -> None:
    """kill -9 of everything: the node starts again, as what it was or as what it becomes."""
    registry.add_model("ops/modeldist", "kill", release(wheel, tmp_path, key))
    with LaunchedCluster(tmp_path / "cluster", 1, key.public) as cluster:
        agent, versions = cluster.agents[0], cluster.versions("agent-0")
        with Client(cluster.url, cluster.token("admin")) as client:

            def start() -> str:
                return client.create_rollout(
                    f"{registry.host}/ops/modeldist:kill", "all", waves=[100], health=3.0, within=40.0, drain=5.0
                ).id

            rollout = start()
            wait_until("the installation", lambda: bool(list(versions.glob(".installing-*/modeldist"))))
            kill_all(agent)
            agent.start()
            cluster.wait_joined(0)
            assert cluster.status(0)["version"] in (__version__, NEXT)

            wait_until("the trial", lambda: (versions / "trial.json").exists(), seconds=60)
            kill_all(agent)
            assert not (versions / "current").exists()
            agent.start()
            cluster.wait_joined(0)
            told = ended(client, rollout)
            assert told.state == "done", (told, agent.log[-4000:])
            assert cluster.status(0)["version"] == NEXT
            wait_until("it to be kept", lambda: (versions / "current").exists())
            assert (versions / "current").readlink() == Path(NEXT)
            assert json.loads((versions / "outcome.json").read_text())["result"] == "kept"
            assert not list(versions.glob(".installing-*"))


def kill_all(launcher: Process) -> None:
    """The launcher; its child dies with it."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    launcher.kill()
    wait_until("its child to be gone", lambda: not any(Path(f"/proc/{child}").exists() for child in children))
