"""Commands that speak to agents and to a control plane, all of them real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from modeldist.agent.local_client import LocalAgent
from tests.integration.cli.terminal import Terminal
from tests.servers import faults
from tests.servers.cluster import MODELDIST, Cluster, Process, finish, wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

SIZE = 3_000_000  # bytes of each model's weights


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(
        tmp_path_factory.mktemp("cluster"), agents=2, nodes={1: {"MODELDIST_AGENT_LABELS": '{"gpu": "h100"}'}}
    ) as cluster:
        yield cluster


@pytest.fixture
def reference(faulty: FaultyRegistry, request: pytest.FixtureRequest) -> str:
    """A model of each test's own: the agents keep what earlier tests pulled."""
    repository = f"org/{request.node.originalname.replace('_', '-')}"
    faulty.add_model(repository, "v1", {"config.json": b"{}", "model.safetensors": weights(repository)})
    return f"{faulty.host}/{repository}:v1"


def weights(repository: str) -> bytes:
    return Random(repository).randbytes(SIZE)


def sent(faulty: FaultyRegistry) -> int:
    """Bytes of blobs that the registry has sent."""
    return sum(exchange.sent for exchange in faulty.seen("blobs", "GET"))


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def failed(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    return done.stderr


def test_the_agent_pulls_and_remembers(cluster: Cluster, reference: str) -> None:
    path = Path(ok(cluster.run(0, "pull", reference)).removesuffix("\n"))
    assert path.is_relative_to(cluster.store(0))
    assert (path / "model.safetensors").stat().st_size == SIZE
    assert reference in ok(cluster.run(0, "status"))
    explained = ok(cluster.run(0, "why", reference))
    assert str(path) in explained
    assert "came from" in explained or "nothing was fetched" in explained
    told = json.loads(ok(cluster.run(0, "why", "--json", reference)))
    assert told["pull"]["state"] == "done"
    assert told["pull"]["pull"].startswith(ok(cluster.run(0, "status")).split(reference)[0].split()[-1])
    assert "no-such-pull" in failed(cluster.run(0, "why", "no-such-pull"), 4)


def test_parents_are_told_with_their_addresses(cluster: Cluster, reference: str) -> None:
    ok(cluster.run(0, "pull", reference))
    ok(cluster.run(1, "pull", reference))
    parent = cluster.status(0)
    told = json.loads(ok(cluster.run(1, "why", "--json", reference)))["pull"]
    assert told["addresses"] == {parent["node"]: parent["address"]}
    assert f"  parent    {parent['node'][:12]} at {parent['address']}: " in ok(cluster.run(1, "why", reference))


def test_the_control_plane_explains_what_it_started(cluster: Cluster, faulty: FaultyRegistry, reference: str) -> None:
    ok(cluster.run(0, "preheat", reference, "--all", "--wait"))
    explained = ok(cluster.run(0, "why", "--server", cluster.url, reference))
    assert f"of {reference}: done" in explained
    assert "2 done" in explained
    absent = reference.replace("org/", "absent/")
    assert cluster.run(0, "preheat", absent, "--all", "--wait").returncode == 4
    assert ok(_elsewhere(cluster, "why", reference)) == explained
    assert absent in ok(cluster.run(0, "why", "--server", cluster.url)), "the newest"
    told = ok(cluster.run(0, "why", "--server", cluster.url, absent))
    assert told.count("absent/") == 3  # in the title, and in what its one cause says
    assert "absent/" in told
    assert json.loads(ok(cluster.run(0, "why", "--json", "--server", cluster.url, reference)))["pull"]["nodes"]
    assert "no-such-pull" in failed(cluster.run(0, "why", "--server", cluster.url, "no-such-pull"), 4)


def test_the_agents_store_is_listed_pinned_and_emptied(cluster: Cluster, reference: str) -> None:
    ok(cluster.run(0, "pull", reference))

    def row() -> dict[str, Any] | None:
        rows = json.loads(ok(cluster.run(0, "ls", "--json")))
        return next((each for each in rows if reference in each["references"]), None)

    ok(cluster.run(0, "pin", reference))
    listed = row()
    assert listed is not None
    assert listed["pinned"]
    assert (listed["files"], listed["size"]) == (2, SIZE + 2)
    kept = json.loads(ok(cluster.run(0, "gc", "--json", "--max-age", "0", "--dry-run")))
    assert listed["digest"] not in {artifact["digest"] for artifact in kept["artifacts"]}
    ok(cluster.run(0, "unpin", reference))
    would = ok(cluster.run(0, "gc", "--max-age", "0", "--dry-run"))
    assert f"{listed['name']}@{listed['digest']}: would be removed" in would
    assert "removed" in ok(cluster.run(0, "rm", reference))
    assert row() is None
    assert reference.partition("/")[0] in failed(cluster.run(0, "rm", reference), 4)


def test_stopping_the_command_stops_the_agents_pull(cluster: Cluster, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.slow(300_000), on="blobs")
    running = cluster.pull(0, reference)
    wait_until("bytes to arrive", lambda: sent(faulty) > 300_000)

    def about() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ok(cluster.run(0, "why", "--json", reference)))
        return found

    wait_until("it to be explained", lambda: about()["bottleneck"] == "origin")
    told = about()
    assert told["pull"]["state"] == "pulling"
    assert told["bytes_per_second"] > 0
    assert faulty.host in told["summary"]
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "cancelled"
    assert "are kept; pull again to resume" in err

    def state() -> str:
        told: str = json.loads(ok(cluster.run(0, "why", "--json", reference)))["pull"]["state"]
        return told

    wait_until("the agent's pull to end", lambda: state() == "cancelled")
    faulty.heal()
    assert finish(cluster.pull(0, reference))["local"] > 0


def test_a_pull_that_stands_still_is_told_of_all_the_same(
    cluster: Cluster, faulty: FaultyRegistry, reference: str
) -> None:
    hold = faults.Hold()
    faulty.inject(faults.held(hold), on="blobs")
    agent = LocalAgent(Path(cluster.environment(0)["MODELDIST_SOCKET"]))
    told = agent.events(agent.start_pull(reference).pull)
    try:
        before = next(told)
        later = next(each for each in told if each.seconds > before.seconds + 4)
        assert later.done == before.done
    finally:
        hold.resume.set()
    assert list(told)[-1].state == "done"


def test_a_failure_at_the_agent_is_the_commands(cluster: Cluster, faulty: FaultyRegistry) -> None:
    assert "org/absent" in failed(cluster.run(0, "pull", f"{faulty.host}/org/absent:v1"), 4)
    done = cluster.run(0, "pull", "--json", f"{faulty.host}/org/absent:v1")
    assert done.returncode == 4
    assert json.loads(done.stdout)["error"]["code"] == "not_found"
    assert "Path" not in failed(cluster.run(0, "pull", "org/UPPER"), 2)


def test_preheating_every_node(cluster: Cluster, reference: str) -> None:
    done = cluster.run(0, "preheat", reference, "--all", "--wait")
    assert f"{reference} is on 2 nodes." in ok(done)
    assert done.stderr.count(": done, ") == 2
    assert "node-0: done, " in done.stderr
    for index in (0, 1):
        assert finish(cluster.pull(index, reference, "--offline"))["local"] == SIZE + 2


def test_preheating_some_and_not_waiting(cluster: Cluster, reference: str) -> None:
    pull = ok(cluster.run(0, "preheat", reference, "--nodes", "node-1")).strip()
    done = cluster.run(0, "preheat", reference, "--count", "1", "--wait", "--json")
    view = json.loads(ok(done))
    assert (view["state"], len(view["nodes"])) == ("done", 1)
    assert done.stderr == ""
    assert pull != view["id"]


def test_harbor_preheats_every_node(cluster: Cluster, faulty: FaultyRegistry, reference: str) -> None:
    repository = reference.removeprefix(f"{faulty.host}/").removesuffix(":v1")
    url = f"http://{faulty.host}/v2/{repository}/manifests/v1"
    headers = {"Authorization": f"Bearer {cluster.token('admin')}"}
    with httpx2.Client(base_url=cluster.url, headers=headers, trust_env=False) as harbor:
        args = {"type": "image", "url": url, "headers": {"Authorization": "Bearer x"}, "scope": "all_peers"}
        job = harbor.post("/oapi/v1/jobs", json={"type": "preheat", "args": args}).raise_for_status().json()

        def ended() -> bool:
            state: str = harbor.get(f"/oapi/v1/jobs/{job['id']}").raise_for_status().json()["state"]
            return state != "PENDING"

        wait_until("the job ends", ended)
        done = harbor.get(f"/oapi/v1/jobs/{job['id']}").json()
    assert done["state"] == "SUCCESS"
    tasks = done["result"]["job_states"][0]["results"][0]["success_tasks"]
    assert {(task["hostname"], task["ip"]) for task in tasks} == {("node-0", "127.0.0.1"), ("node-1", "127.0.0.1")}
    for index in (0, 1):
        assert finish(cluster.pull(index, reference, "--offline"))["local"] == SIZE + 2


def test_a_preheat_that_fails_has_its_cause_as_exit_code(cluster: Cluster, faulty: FaultyRegistry) -> None:
    absent = f"{faulty.host}/org/absent:v1"
    done = cluster.run(0, "preheat", absent, "--all", "--wait")
    assert (done.returncode, done.stdout) == (4, "")
    assert "0 of 2 nodes" in done.stderr
    assert "node-1: failed: " in done.stderr
    document = cluster.run(0, "preheat", absent, "--all", "--wait", "--json")
    assert document.returncode == 4
    assert json.loads(document.stdout)["error"]["code"] == "not_found"
    assert "node-9" in failed(cluster.run(0, "preheat", absent, "--nodes", "node-9"), 4)
    refused = failed(cluster.run(0, "preheat", absent, "--label", "gpu=none"), 4)
    assert "gpu=none" in refused
    assert "modeldist status --server" in refused, "it shows the labels that there are"


def _elsewhere(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """By a machine without an agent that only the environment tells of the control plane."""
    told = {"MODELDIST_SERVER": cluster.url, "MODELDIST_SOCKET": "/nowhere", "MODELDIST_TOKEN": cluster.token("admin")}
    own = {"MODELDIST_STORE": str(cluster.home / "elsewhere")}
    return subprocess.run([*MODELDIST, *arguments], env={**os.environ, **told, **own}, capture_output=True, text=True)


def test_the_control_plane_tells_of_its_nodes(cluster: Cluster, tmp_path: Path) -> None:
    text = ok(cluster.run(0, "status", "--server", cluster.url))
    assert "node-0" in text
    assert "2 agents" in text
    assert "RACK" not in text
    assert "VERSION" not in text, "they are all of one"
    assert re.search(r"node-1 .* gpu=h100$", text, re.MULTILINE)
    assert ok(_elsewhere(cluster, "status")).splitlines()[3:] == text.splitlines()[3:]
    document = json.loads(ok(cluster.run(0, "status", "--json", "--server", cluster.url)))
    assert {node["name"] for node in document["nodes"]} == {"node-0", "node-1"}
    (tmp_path / "wrong.token").write_text("wrong\n")
    wrong = ("--token-file", str(tmp_path / "wrong.token"))
    assert "token" in failed(cluster.run(0, "status", "--server", cluster.url, *wrong), 16)


def test_the_status_of_an_agent_for_people(cluster: Cluster) -> None:
    text = ok(cluster.run(1, "status"))
    assert text.startswith("Agent node-1 (")
    assert "control plane  connected" in text
    assert str(cluster.store(1)) in text


def test_what_keeps_an_agent_from_starting(cluster: Cluster, tmp_path: Path) -> None:
    def refusal(code: int, *options: str) -> str:
        return failed(cluster.run(0, "agent", "--control", cluster.url, *options), code)

    own = ("--store", str(tmp_path / "store"), "--socket", str(tmp_path / "agent.sock"))
    token = ("--token-file", str(cluster.home / "control" / "agent.token"))
    assert "already listens" in refusal(17, *token)
    assert "Another agent works with the store" in refusal(17, *token, "--socket", str(tmp_path / "agent.sock"))
    assert "Cannot serve pieces" in refusal(17, *token, *own, "--listen", urlsplit(cluster.url).netloc)
    assert "is not host:port" in refusal(2, *token, *own, "--listen", "somewhere")
    assert "is not host:port" in refusal(2, *token, *own, "--listen", "127.0.0.1:70000")
    assert "Add --gateway" in refusal(2, *token, *own, "--mirror", "registry.example")


def test_of_agents_started_at_once_on_one_socket_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    path.write_bytes(b"")  # left over by one that was killed
    environment = {**os.environ, "MODELDIST_AGENT_TOKEN": "none"}
    agents = []
    for name in ("one", "two", "three"):
        own = ("--store", str(tmp_path / name), "--socket", str(path), "--control", "http://127.0.0.1:1")
        agents.append(Process(name, ["agent", *own], environment, tmp_path))
        agents[-1].start()
    try:
        wait_until("all agents but one to give up", lambda: sum(agent.running for agent in agents) == 1)
        (survivor,) = (agent for agent in agents if agent.running)
        for agent in agents:
            assert agent is survivor or "already listens on" in agent.log
        survivor.wait_for("the agent to listen", LocalAgent(path).running)
        assert LocalAgent(path).status()["store"] == str(tmp_path / survivor.name)
    finally:
        for agent in agents:
            agent.stop()
    assert not path.exists()


def test_an_agent_listens_at_a_path_longer_than_a_unix_address(tmp_path: Path) -> None:
    home = tmp_path / ("directory-" * 8) / ("deeper-" * 8)
    here = {"MODELDIST_SOCKET": str(home / "agent.sock"), "MODELDIST_STORE": str(home / "store")}
    environment = {**os.environ, **here, "MODELDIST_AGENT_TOKEN": "none"}
    agent = Process("agent", ["agent", "--control", "http://127.0.0.1:1"], environment, tmp_path)
    agent.start()
    try:
        local = LocalAgent(home / "agent.sock")
        agent.wait_for("the agent to listen", local.running)
        assert local.status()["store"] == str(home / "store")
    finally:
        agent.stop()
    assert not (home / "agent.sock").exists()
    agent.arguments += ["--socket", str(home / ("name-" * 30))]
    agent.start()
    wait_until("the agent to give up", lambda: not agent.running)
    assert "Choose another --socket." in agent.log


def test_the_agent_token_of_a_control_plane_on_this_machine(tmp_path: Path) -> None:
    home = {"XDG_STATE_HOME": str(tmp_path), "MODELDIST_STORE": str(tmp_path / "store")}
    with Cluster(tmp_path / "cluster", agents=0, environment={"MODELDIST_SOCKET": str(tmp_path / "s")}) as cluster:
        agent = Process("tokenless", ["agent", "--control", cluster.url], {**os.environ, **home}, tmp_path)
        agent.start()
        agent.wait_for("the agent to give up", lambda: not agent.running)
        assert "has no token" in agent.log
        (tmp_path / "modeldist").symlink_to(cluster.home / "control")
        agent.start()
        agent.wait_for("the agent to join", lambda: "connected with token" in cluster.server.log)
        assert agent.stop() == 0


def test_without_the_agent_a_store_of_ones_own(cluster: Cluster, reference: str, tmp_path: Path) -> None:
    path = Path(ok(cluster.run(0, "pull", reference, "--store", str(tmp_path / "own"))).strip())
    assert path.is_relative_to(tmp_path / "own")


def test_the_agent_and_the_cluster_are_watched(cluster: Cluster, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.slow(50_000), on="blobs")
    running = cluster.pull(0, reference)
    try:
        wait_until("bytes to arrive", lambda: sent(faulty) > 50_000)

        def shown() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(ok(cluster.run(0, "top", "--json")))
            return next((pull for pull in found["pulls"] if pull["reference"] == reference), {})

        wait_until("its rate", lambda: shown().get("origin", 0) > 0)
        assert reference in ok(cluster.run(0, "top", "--once"))
        told = ok(cluster.run(0, "top", "--once", "--server", cluster.url))
        assert told.startswith("Control plane")
        assert "node-0" in told and "node-1" in told
        watched = cluster.run(0, "doctor", "--json", "--server", cluster.url, "--hf-endpoint", f"http://{faulty.host}")
        found = {each["check"]: each for each in json.loads(watched.stdout)["checks"]}
        assert found["token"]["state"] == found["clock"]["state"] == found["versions"]["state"] == "ok"
        assert "has a session" in found["agent"]["found"]
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)


def test_top_on_a_terminal_ends_with_q(cluster: Cluster, shell: Shell) -> None:
    socket = cluster.environment(0)["MODELDIST_SOCKET"]
    terminal = Terminal(shell, "top", whole=True, MODELDIST_SOCKET=socket)
    try:
        wait_until("a picture", lambda: "Agent node-0" in terminal.seen)
        os.write(terminal.keyboard, b"\x1b[A")  # what comes with a key must not keep the next one waiting
        os.write(terminal.keyboard, b"q")
    finally:
        assert terminal.finish()[0] == 0, terminal.seen
