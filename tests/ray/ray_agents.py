"""A Ray cluster on whose nodes nothing of ours runs: Ray runs agents and a control plane there."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import ray

from modeldist.agent.local_client import LocalAgent
from modeldist.errors import AgentError, ControlPlaneError, PullFailed, UsageError
from modeldist.ray import followed, prefetch, start_agents, stop_agents, unfollow
from tests.ray.conftest import NODES, WEIGHTS
from tests.ray.machines import Machines
from tests.ray.raylets import Raylets
from tests.servers.cluster import wait_until
from tests.servers.faults import Hold, held
from tests.servers.oci_faults import FaultyRegistry


def running(machines: Machines) -> list[bool]:
    return [LocalAgent(machines.socket(index)).running() for index in range(NODES)]


def ours(word: str) -> list[psutil.Process]:
    """Commands that Ray's actors run on these machines."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "modeldist.ray.tied" in words and word in words:
            found.append(process)
    return found


def test_ray_runs_agents_where_there_are_none(
    bare: None, machines: Machines, raylets: Raylets, faulty: FaultyRegistry, reference: str
) -> None:
    agents = start_agents()
    assert agents.control.startswith("https://127.0.0.2:")
    assert sorted(agents.nodes) == sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
    assert {agent.store for agent in agents.nodes.values()} == {machines.here / "store"}
    assert all(agent.started for agent in agents.nodes.values())
    assert start_agents().control == agents.control
    assert len(ours("agent")) == NODES

    (model,) = prefetch(reference, follow=True)
    assert len(model.copies) == NODES
    assert model.path.is_relative_to(machines.here)
    assert len(WEIGHTS) < sum(exchange.sent for exchange in faulty.seen("blobs", "GET")) < len(WEIGHTS) + 10_000

    # Who joins gets what the others have, although the tag now means something else.
    faulty.add_model(reference.split("/", 1)[1].removesuffix(":v1"), "v1", {"config.json": b'{"moved": true}'})
    index = len(machines.agents) + 1  # a machine that never had an agent
    joined = raylets.join(machines.environment_inside(index), machines.command(index))
    try:
        wait_until("the node to have an agent, and the model", lambda: joined in followed()[0].copies, seconds=120)
        copy = followed()[0].copies[joined]
        assert (copy.resolved, copy.path, copy.origin) == (model.resolved, model.path, 0)
        _lost_in_between(raylets, faulty, joined)
    finally:
        unfollow(model.resolved)
        raylets.leave(len(raylets) - 1)
    wait_until("its agent to end with it", lambda: len(ours("agent")) == NODES, seconds=60)


def _lost_in_between(raylets: Raylets, faulty: FaultyRegistry, node: str) -> None:
    """A node leaves the cluster while a model comes to it."""
    faulty.add_model("org/late", "v1", {"config.json": b"{}", "model.safetensors": b"x"})
    hold = Hold()
    faulty.inject(held(hold, times=None), on="manifests")
    try:
        with ThreadPoolExecutor(1) as thread:
            asking = thread.submit(prefetch, f"{faulty.host}/org/late:v1", [node])
            assert hold.reached.wait(60)
            raylets.leave(len(raylets) - 1)
            with pytest.raises(PullFailed, match=r"On the node 127\.0\.0\.\d: it was lost.*org/late:v1 came"):
                asking.result(60)
    finally:
        hold.resume.set()


def test_what_is_killed_is_started_again(bare: None, machines: Machines, reference: str) -> None:
    agents = start_agents()
    before = {process.pid for process in (*ours("agent"), *ours("server"))}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until("others", lambda: len({p.pid for p in (*ours("agent"), *ours("server"))} - before) > NODES, seconds=60)
    assert start_agents().control == agents.control
    assert len(prefetch(reference)[0].copies) == NODES


def test_an_actor_that_dies_takes_its_agent_along_and_starts_another(bare: None, reference: str) -> None:
    agents = start_agents()
    node = next(iter(agents.nodes))
    before = {process.pid for process in ours("agent")}
    ray.kill(ray.get_actor(f"agent:{node}", "modeldist"), no_restart=False)
    wait_until("another", lambda: bool({p.pid for p in ours("agent")} - before), seconds=60)
    wait_until("the old one to end", lambda: len(ours("agent")) == NODES, seconds=60)
    start_agents()
    assert len(prefetch(reference)[0].copies) == NODES


def test_other_options_want_a_stop_first(bare: None) -> None:
    start_agents()
    with pytest.raises(UsageError, match="other options"):
        start_agents(agent_options=["--origin-streams", "2"])
    with pytest.raises(UsageError, match="needs its agent token"):
        start_agents(control="https://control.example:7420")


def test_stopping_ends_all_of_it(bare: None, machines: Machines) -> None:
    start_agents()
    assert all(running(machines))
    stop_agents()
    assert not any(running(machines))
    assert not ours("agent")
    assert not ours("server")
    stop_agents()  # nothing runs, which is no error


def test_what_cannot_start_says_its_last_words(bare: None, machines: Machines) -> None:
    try:
        with pytest.raises(ControlPlaneError, match=r"(?s)does not start.*--no-such-option"):
            start_agents(server_options=["--no-such-option"])
        stop_agents()
        with pytest.raises(AgentError, match=r"(?s)does not start.*--no-such-option"):
            start_agents(agent_options=["--no-such-option"])
    finally:
        stop_agents()


def test_a_control_plane_that_is_there_already_and_agents_that_run_are_kept(bare: None, machines: Machines) -> None:
    machines.agents[0].start()
    machines.wait_joined(0)
    agents = start_agents(control=machines.url, token=machines.token("agent"))
    try:
        assert agents.control == machines.url
        assert sorted(agent.started for agent in agents.nodes.values()) == [False, True, True]
        assert not ours("server")
    finally:
        stop_agents()
    assert running(machines) == [True, False, False]
    machines.agents[0].stop()
