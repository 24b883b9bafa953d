"""An agent that is started again while it pulls for a command, or for a program."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from modeldist.agent import local_pull
from modeldist.agent.following import Followed
from modeldist.agent.local_client import AgentSilent, LocalAgent
from modeldist.agent.progress import PullSnapshot
from tests.chaos.on_disk import Ranges, assert_right, common, finished, read_ranges, size_of
from tests.integration.cli.terminal import Terminal
from tests.servers import faults
from tests.servers.cluster import Cluster, Process, finish, wait_until
from tests.servers.oci_faults import Exchange, FaultyRegistry
from tests.servers.shell import Shell

WEIGHTS = 6_000_000
AWAY = "The agent went away in mid-pull; waiting up to"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), agents=1) as cluster:
        yield cluster


@pytest.fixture
def agent(cluster: Cluster) -> LocalAgent:
    if not cluster.agents[0].running:
        cluster.agents[0].start()
        cluster.wait_joined(0)
    return LocalAgent(Path(cluster.environment(0)["MODELDIST_SOCKET"]))


class Middle:
    """A model that no other test pulls, and a pull of it in its middle: the origin is slow until it is healed."""

    def __init__(self, cluster: Cluster, faulty: FaultyRegistry, seed: str) -> None:
        self.files = {"config.json": b"{}", "model.safetensors": random.Random(seed).randbytes(WEIGHTS)}
        self.size = sum(map(len, self.files.values()))
        self.reference = f"{faulty.host}/org/model:v1"
        self._cluster = cluster
        self._faulty = faulty
        self._digests = {f"sha256:{hashlib.sha256(content).hexdigest()}" for content in self.files.values()}
        self._asked = 0
        faulty.add_model("org/model", "v1", self.files)
        faulty.inject(faults.slow(1_500_000), on="blobs")

    @property
    def process(self) -> Process:
        return self._cluster.agents[0]

    def here(self) -> Ranges:
        return finished(self._cluster.store(0), self._digests)

    def asked(self) -> list[Exchange]:
        return self._faulty.seen("blobs", "GET")

    def reached(self) -> None:
        wait_until("a third of the model", lambda: self.size // 3 < size_of(self.here()))

    def ended(self, how: str) -> Ranges:
        """End the agent's process; what was verified then. The origin is fast from now on."""
        self.process.kill() if how == "kill -9" else self.process.stop()
        self._asked = len(self.asked())
        self.heal()
        return self.here()

    def heal(self) -> None:
        self._faulty.heal()

    def assert_goes_on(self, before: Ranges, ended: PullSnapshot) -> None:
        """To its end, from `before`: nothing of that was read again."""
        assert 0 < size_of(before) < self.size
        assert common(read_ranges(self.asked()[self._asked :]), before) == []
        assert ended.local == size_of(before)
        assert ended.local + ended.origin == self.size
        assert_right(Path(ended.path), self.files)


@pytest.fixture
def middle(cluster: Cluster, agent: LocalAgent, faulty: FaultyRegistry, request: pytest.FixtureRequest) -> Middle:
    return Middle(cluster, faulty, request.node.name)


def until_it_waits(pull: subprocess.Popen[str]) -> str:
    assert pull.stderr is not None
    said = pull.stderr.readline()
    assert AWAY in said
    return said


def test_the_command_goes_on_when_its_agent_is_back(cluster: Cluster, middle: Middle) -> None:
    pull = cluster.pull(0, middle.reference)
    middle.reached()
    before = middle.ended("SIGTERM")
    assert "1 min 0 s" in until_it_waits(pull)
    middle.process.start()
    out, err = pull.communicate(timeout=60)
    assert (pull.returncode, err) == (0, ""), "it was said once"
    middle.assert_goes_on(before, msgspec.json.decode(out, type=PullSnapshot))


def test_the_display_goes_on_too(cluster: Cluster, middle: Middle, tmp_path: Path) -> None:
    terminal = Terminal(Shell(tmp_path, **cluster.environment(0)), "pull", "--json", middle.reference)
    middle.reached()
    before = middle.ended("kill -9")
    wait_until("it to be said", lambda: AWAY in terminal.seen)
    middle.process.start()
    code, out = terminal.finish()
    assert code == 0, terminal.seen
    assert terminal.seen.count(AWAY) == 1
    after = terminal.seen.rpartition(AWAY)[2]
    assert "already here" in after
    middle.assert_goes_on(before, msgspec.json.decode(out, type=PullSnapshot))


def test_programs_go_on_as_well(agent: LocalAgent, middle: Middle) -> None:
    """Engines, and what Ray prefetches with."""
    with ThreadPoolExecutor() as threads:
        pulling = threads.submit(local_pull.pulled, agent, middle.reference, without_agent="")
        middle.reached()
        before = middle.ended("kill -9")
        middle.process.start()
        middle.assert_goes_on(before, pulling.result(60))


def test_an_agent_that_stands_still_is_waited_for_as_well(agent: LocalAgent, middle: Middle) -> None:
    begun = agent.start_pull(middle.reference)
    middle.reached()
    middle.process.send(signal.SIGSTOP)
    try:
        impatient = LocalAgent(agent.path, quiet=0.1)
        with pytest.raises(AgentSilent, match="does not answer"):
            list(Followed(impatient, begun, patience=0.3))
        middle.heal()
        following = Followed(impatient, begun, away=lambda _: middle.process.send(signal.SIGCONT))
        *_, last = following
    finally:
        middle.process.send(signal.SIGCONT)
    assert (last.pull, last.state) == (begun.pull, "done")
    assert_right(Path(last.path), middle.files)


def test_what_is_stopped_while_the_agent_is_away_is_not_begun_again(
    cluster: Cluster, middle: Middle, agent: LocalAgent
) -> None:
    pull = cluster.pull(0, middle.reference)
    middle.reached()
    before = middle.ended("kill -9")
    until_it_waits(pull)
    pull.send_signal(signal.SIGINT)
    _, err = pull.communicate(timeout=30)
    assert pull.returncode == 130, err
    assert "are kept; pull again to resume" in err
    assert "may go on with it when it is back" in err
    assert f"`curl -X DELETE --unix-socket {agent.path} http://agent/v1/pulls/" in err
    middle.process.start()
    cluster.wait_joined(0)
    assert agent.pulls() == []
    middle.assert_goes_on(before, msgspec.convert(finish(cluster.pull(0, middle.reference)), PullSnapshot))


def test_a_pull_that_another_program_cancelled_is_not_begun_again(
    cluster: Cluster, middle: Middle, agent: LocalAgent
) -> None:
    pull = cluster.pull(0, middle.reference)
    middle.reached()
    (running,) = [one for one in agent.pulls() if one.reference == middle.reference]
    agent.cancel(running.pull)
    _, err = pull.communicate(timeout=30)
    assert pull.returncode == 130, err
    middle.ended("SIGTERM")
    middle.process.start()
    cluster.wait_joined(0)
    assert agent.pulls() == []


@pytest.mark.parametrize("flags", [("--reconnect", "0.5"), ("--reconnect", "0.5", "--quiet")])
def test_an_agent_that_stays_away_ends_the_command(cluster: Cluster, middle: Middle, flags: tuple[str, ...]) -> None:
    pull = cluster.pull(0, middle.reference, *flags)
    middle.reached()
    middle.ended("SIGTERM")
    out, err = pull.communicate(timeout=60)
    assert pull.returncode == 17, err
    assert "The agent stopped in mid-pull" in err
    assert "pull again to resume" in err
    assert (AWAY in err) == (flags == ("--reconnect", "0.5"))
    assert msgspec.json.decode(out)["error"]["code"] == "agent"
