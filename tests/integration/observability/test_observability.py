"""What an operator is shown of processes that run: records of a pull, probes, profiles. Without the extra `otel`."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modeldist.agent.local_client import LocalAgent
from modeldist.errors import AgentError, NotReady, Overloaded
from tests.servers.cluster import Cluster, wait_until
from tests.servers.oci_faults import FaultyRegistry

PAGE = Path(__file__).parents[3] / "docs" / "observability.md"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def origin() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    environment = {
        "MODELDIST_SERVER_LOG_FORMAT": "json",
        "MODELDIST_AGENT_LOG_FORMAT": "json",
        "MODELDIST_AGENT_LOG_LEVEL": "debug",
    }
    with Cluster(tmp_path_factory.mktemp("observed") / "cluster", 1, environment=environment) as cluster:
        yield cluster


@pytest.fixture
def agent(cluster: Cluster) -> LocalAgent:
    return LocalAgent(Path(cluster.environment(0)["MODELDIST_SOCKET"]))


def records(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


def test_every_record_of_a_pull_says_of_which(cluster: Cluster, origin: FaultyRegistry) -> None:
    """Also of one that fails, in threads and callbacks; and of whose trace, though nothing is recorded here."""
    files = {"config.json": b"{}", "model.safetensors": random.Random(1).randbytes(9_000_000)}
    origin.add_model("org/logged", "v1", files)
    headers = {"Authorization": f"Bearer {cluster.token('admin')}", "traceparent": f"00-{TRACE}-{SPAN}-01"}
    with httpx2.Client(base_url=f"{cluster.url}/api/v1", headers=headers, trust_env=False) as http:
        made = []
        for name in ("org/logged", "org/absent"):
            asked = http.post("/pulls", json={"reference": f"{origin.host}/{name}:v1", "nodes": "all"})
            pull = asked.raise_for_status().json()["id"]
            wait_until("it to end", lambda pull=pull: http.get(f"/pulls/{pull}").json()["state"] != "running")
            made.append(pull)
    wait_until("its last record", lambda: cluster.agents[0].log.count('"pull ended"') == len(made))
    of_agent, of_server = records(cluster.agents[0].log), records(cluster.server.log)

    for pull, state in zip(made, ("done", "failed"), strict=True):
        mine = [record for record in of_agent if record.get("pull") == pull]
        assert [record["event"] for record in mine][:1] == ["pull started"]
        assert mine[-1]["event"] == "pull ended"
        assert mine[-1]["state"] == state
        assert {record["trace_id"] for record in mine} == {TRACE}
        assert {record["event"] for record in of_server if record.get("pull") == pull} == {
            "pull accepted",
            "pull ended",
        }
    shards = [record for record in of_agent if record["event"] == "shard ended"]
    assert {record["shard"] for record in shards} == set(files)
    assert {record["pull"] for record in shards} == {made[0]}
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", record["task"]) for record in shards)
    audit = [record for record in of_server if record.get("action") == "create_pull"]
    assert {record["trace_id"] for record in audit} == {TRACE}
    for record in (*of_agent, *of_server):
        assert {"event", "level", "logger", "timestamp"} <= set(record)


def test_what_the_web_server_says_is_a_record_too(cluster: Cluster) -> None:
    """Of an agent's socket and gateway, to which anybody on the machine may say what is no HTTP."""
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(cluster.environment(0)["MODELDIST_SOCKET"])
        stranger.sendall(b"\x16\x03\x01 is TLS\r\n\r\n")
        while stranger.recv(4096):
            pass
    wait_until("its record", lambda: "Invalid HTTP" in cluster.agents[0].log)
    (said,) = (record for record in records(cluster.agents[0].log) if "Invalid HTTP" in record["event"])
    assert said["level"] == "warning"


def test_the_page_has_the_fields(cluster: Cluster) -> None:
    documented = set(re.findall(r"(?m)^\| `(\w+)` \|", PAGE.read_text().partition("## Logs")[2].partition("\n## ")[0]))
    told = [record for record in records(cluster.agents[0].log) if "pull" in record]
    assert told
    assert {name for record in told for name in record} <= documented


def test_an_agent_is_ready_while_it_could_take_a_pull(cluster: Cluster, agent: LocalAgent) -> None:
    agent.live()
    agent.ready()
    assert cluster.run(0, "status", "--live", "--ready").returncode == 0

    place = cluster.store(0) / "tmp"
    aside = place.with_name("tmp.aside")
    place.rename(aside)
    place.write_bytes(b"a disk that went away")
    try:
        with pytest.raises(NotReady, match="cannot be written"):
            agent.ready()
        agent.live()
        said = cluster.run(0, "status", "--ready")
        assert (said.returncode, said.stdout) == (NotReady.exit_code, "")
        assert "cannot be written" in said.stderr
    finally:
        place.unlink()
        aside.rename(place)
    agent.ready()

    cluster.server.stop()
    wait_until("the session to end", lambda: not agent.status()["connected"])
    with pytest.raises(NotReady, match="no session with the control plane"):
        agent.ready()
    agent.live()  # what peers have comes all the same
    cluster.start_server()
    cluster.wait_joined(0)
    agent.ready()


def test_profiles_of_an_agent(cluster: Cluster, agent: LocalAgent, tmp_path: Path) -> None:
    output = tmp_path / "agent.collapsed"
    done = cluster.run(0, "profile", "--seconds", "0.5", "--output", str(output))
    assert done.returncode == 0, done.stderr
    found = output.read_text()
    assert all(re.fullmatch(r"\S+ \d+", line) for line in found.splitlines())
    assert re.search(r"(?m)^MainThread;.*asyncio\.base_events:BaseEventLoop\.run_forever", found)
    assert re.search(r"(?m)^asyncio_tasks;.*modeldist\.agent\.session_keeper:SessionKeeper\.run", found)
    assert str(cluster.home) not in found

    with ThreadPoolExecutor(2) as both:
        answers = [each.result() for each in [both.submit(asked, agent) for _ in range(2)]]
    assert sorted(answers) == ["a profile", "overloaded"]
    assert cluster.run(0, "profile", "--seconds", "0").returncode == 2
    assert cluster.run(0, "profile", "--seconds", "61").returncode == 2


def asked(agent: LocalAgent) -> str:
    try:
        return "a profile" if agent.profile(1.0) else "nothing"
    except Overloaded as error:
        return error.code


def test_profiles_of_the_control_plane(cluster: Cluster) -> None:
    url = f"{cluster.url}/api/v1/debug/profile"
    admin = {"Authorization": f"Bearer {cluster.token('admin')}"}
    with httpx2.Client(headers=admin, trust_env=False) as http:
        found = http.get(url, params={"seconds": 0.5})
        assert (found.status_code, found.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert re.search(r"(?m)^asyncio_tasks;.*modeldist\.control\.core:ControlCore\.run_ticks", found.text)
        for seconds in (0, -1, 61, "nan", "x"):
            assert http.get(url, params={"seconds": seconds}).status_code in (400, 422), seconds

        with ThreadPoolExecutor(2) as both:
            answers = [both.submit(http.get, url, params={"seconds": 1}) for _ in range(2)]
        assert sorted(answer.result().status_code for answer in answers) == [200, 503]


def test_where_no_agent_runs(tmp_path: Path) -> None:
    nobody = LocalAgent(tmp_path / "agent.sock")
    for ask in (nobody.live, nobody.ready):
        with pytest.raises(AgentError, match="cannot be reached"):
            ask()
