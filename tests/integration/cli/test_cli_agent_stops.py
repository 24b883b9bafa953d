"""An agent that ends, or does not answer, while programs of its machine talk to it."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.agent.local_client import QUIET, LocalAgent
from modeldist.agent.reading_news import Ended, Opened, Still
from modeldist.errors import AgentError
from tests.servers.cluster import Cluster, Process
from tests.servers.faults import Fault, Hold
from tests.servers.oci_faults import FaultyRegistry

CUT = "timeout graceful shutdown exceeded"  # what uvicorn says of requests that it waited for in vain


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), agents=1) as cluster:
        yield cluster


@pytest.fixture
def process(cluster: Cluster) -> Iterator[Process]:
    process = cluster.agents[0]
    if not process.running:
        process.start()
        cluster.wait_joined(0)
    yield process
    if process.running:
        process.send(signal.SIGCONT)


def test_an_agent_that_does_not_answer_is_said_to_be_silent(cluster: Cluster, process: Process) -> None:
    assert 2 * QUIET <= 10  # seconds, of every command
    agent = LocalAgent(Path(cluster.environment(0)["MODELDIST_SOCKET"]), quiet=0.2)
    process.send(signal.SIGSTOP)
    assert agent.running()  # the kernel takes the connection
    for ask in (agent.status, agent.gc, lambda: agent.start_pull("org/model:v1")):
        with pytest.raises(AgentError, match="does not answer") as told:
            ask()
        assert "kill -CONT" in told.value.remedy
    process.send(signal.SIGCONT)
    assert LocalAgent(agent.path).status()["connected"]


def test_whoever_follows_a_pull_is_let_go_before_the_agent_waits_for_them(
    cluster: Cluster, process: Process, faulty: FaultyRegistry
) -> None:
    weights = b"w" * 100_000
    faulty.add_model("org/model", "v1", {"model.safetensors": weights})
    hold = Hold()
    faulty.inject(Fault(hold=hold), on=hashlib.sha256(weights).hexdigest())
    reference = f"{faulty.host}/org/model:v1"
    pulling = cluster.pull(0, reference, "--reconnect", "0")
    assert hold.reached.wait(30)
    reading = LocalAgent(Path(cluster.environment(0)["MODELDIST_SOCKET"])).read(reference)
    news = iter(reading)
    while not isinstance(now := next(news), Opened):
        assert isinstance(now, Still)
    try:
        assert process.stop() == 0
    finally:
        hold.resume.set()
    assert CUT not in process.log
    out, err = pulling.communicate(timeout=60)
    assert pulling.returncode == 17, out + err
    assert "stopped in mid-pull" in out + err
    *_, last = news
    assert isinstance(last, Ended)
    assert last.error is not None
    assert "agent stopped" in last.error.message
