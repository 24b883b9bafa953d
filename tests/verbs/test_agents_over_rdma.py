"""Two agents in two network namespaces with a Soft-RoCE device each: what one pulls from the other comes by RDMA."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.agent.local_client import LocalAgent
from modeldist.agent.progress import PullSnapshot
from tests.servers.cluster import Process
from tests.servers.registry import Registry
from tests.verbs import models
from tests.verbs.links import HERE, Host, add_device, counter, two_hosts
from tests.verbs.waiting import wait_until

MODELS = Path(os.environ.get("MODELDIST_TEST_MODELS", "/nonexistent"))  # what tests/verbs/models.py published
MTU = 4096
UPLOAD_RATE = "12MB"  # so slow that a pull has a half time
PATIENCE = 240.0  # seconds for a process to come up on an emulated machine
MODELDIST = [sys.executable, "-m", "modeldist"]

pytestmark = pytest.mark.timeout(900)


class Pair:
    """A registry and a control plane here, an agent on each host. `clients` talk to the agents."""

    def __init__(self, home: Path, hosts: tuple[Host, Host], registry: Registry) -> None:
        self.home = home
        self.hosts = hosts
        self.registry = registry
        self.environment = dict(os.environ)
        plain = ["--plain-http", registry.host]
        serving = ["server", "--host", HERE, "--port", "7420", "--state-dir", str(home / "control")]
        serving += ["--allow-plain-http", *plain]
        self.server = Process("server", serving, self.environment, home, patience=PATIENCE)
        self.agents = [self._agent(host, plain) for host in hosts]
        self.clients = [LocalAgent(home / f"{host.namespace}.sock") for host in hosts]

    def _agent(self, host: Host, plain: list[str]) -> Process:
        arguments = ["agent", "--control", f"http://{HERE}:7420"]
        arguments += ["--token-file", str(self.home / "control" / "agent.token"), "--name", host.namespace]
        arguments += ["--store", str(self.home / f"{host.namespace}-store")]
        arguments += ["--socket", str(self.home / f"{host.namespace}.sock")]
        arguments += ["--listen", f"{host.address}:7421", "--rdma-device", host.device]
        arguments += ["--upload-rate", UPLOAD_RATE, *plain]
        command = [*host.inside(), *MODELDIST]
        return Process(host.namespace, arguments, self.environment, self.home, command=command, patience=PATIENCE)

    def start(self) -> None:
        self.server.start()
        self.server.wait_for("the control plane to listen", lambda: "listening" in self.server.log)
        for agent, client in zip(self.agents, self.clients, strict=True):
            agent.start()
            agent.wait_for("the agent to join", lambda c=client: c.running() and c.status()["connected"])  # type: ignore[misc]

    def stop(self) -> None:
        for process in (*self.agents, self.server):
            process.stop()

    def pull(self, index: int, reference: str) -> PullSnapshot:
        client = self.clients[index]
        *_, last = client.events(client.start_pull(reference).pull)
        assert last.state == "done", last.error
        return last

    def reference(self, name: str) -> str:
        return models.reference(self.registry.host, name)


def same_content(name: str, pull: PullSnapshot) -> bool:
    return (Path(pull.path) / models.WEIGHTS).read_bytes() == (MODELS / name / models.WEIGHTS).read_bytes()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    home = tmp_path_factory.mktemp("pair")
    (home / "registry").mkdir()
    (home / "registry" / "storage").symlink_to(models.storage(MODELS))
    with two_hosts() as hosts, Registry(home / "registry", address=HERE) as registry:
        running = Pair(home, hosts, registry)
        try:
            running.start()
            yield running
        finally:
            running.stop()
            for log in home.glob("*.log"):  # the machine forgets them
                shutil.copy(log, MODELS.parent)


def test_all_peer_bytes_come_by_rdma(pair: Pair) -> None:
    reference = pair.reference("first")
    pair.pull(0, reference)
    before = counter(pair.hosts[1].device, "rcvd_pkts")
    pulled = pair.pull(1, reference)
    assert pulled.origin == 0
    assert pulled.rdma == pulled.peers == pulled.size
    assert counter(pair.hosts[1].device, "rcvd_pkts") - before >= models.SIZE // MTU
    assert same_content("first", pulled)
    assert pair.clients[1].status()["rdma_detours"] == {}


def test_a_device_removed_at_half_time_and_back_again(pair: Pair) -> None:
    for name in ("second", "third"):
        pair.pull(0, pair.reference(name))
    child, host = pair.clients[1], pair.hosts[1]
    removal = None
    for now in child.events(child.start_pull(pair.reference("second")).pull):
        pulled = now
        if removal is None and now.rdma >= models.SIZE // 3:
            removal = subprocess.Popen(["rdma", "link", "delete", host.device])
    assert removal is not None
    assert removal.wait(60) == 0
    assert pulled.state == "done", pulled.error
    assert same_content("second", pulled)
    assert pulled.origin == 0
    assert 0 < pulled.rdma < pulled.peers == models.SIZE  # the small file is here already: all models have the same
    assert any("over TCP instead of RDMA" in note and host.device in note for note in pulled.notes), pulled.notes
    detours = child.status()["rdma_detours"]
    assert any(host.device in reason for reason in detours), detours
    add_device(host.device, host.link)
    wait_until("the device", lambda: f"RDMA by {host.device}" in child.status()["rdma"])
    pulled = pair.pull(1, pair.reference("third"))
    assert same_content("third", pulled)
    assert pulled.rdma > 0, pulled.notes
