"""Two agents in two network namespaces with a Soft-RoCE device each: what one pulls from the other comes by RDMA."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.agent.local_client import LocalAgent
from modeldist.agent.progress import PullSnapshot
from tests.servers.cluster import Process
from tests.servers.registry import Registry
from tests.verbs.links import HERE, Host, add_device, counter, two_hosts
from tests.verbs.waiting import wait_until

MIB = 1 << 20
SIZE = 64 * MIB
MTU = 4096
PATIENCE = 240.0  # seconds for a process to come up on an emulated machine
MODELDIST = [sys.executable, "-m", "modeldist"]


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
        arguments += ["--listen", f"{host.address}:7421", "--rdma-device", host.device, *plain]
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

    def publish(self, name: str) -> str:
        """A model of one file of random bytes, as a ModelPack in the registry."""
        folder = self.home / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(_safetensors(SIZE))
        (folder / "config.json").write_text('{"model_type": "bert"}')
        reference = f"{self.registry.host}/org/{name}:v1"
        push = ["push", reference, "--plain-http", self.registry.host]
        for arguments in (["build", str(folder), "-t", reference], push):
            command = [*MODELDIST, *arguments]
            done = subprocess.run(command, env=self._user(), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        return reference

    def _user(self) -> dict[str, str]:
        return {
            **self.environment,
            "MODELDIST_STORE": str(self.home / "publisher"),
            "MODELDIST_SOCKET": str(self.home / "none.sock"),
        }

    def pull(self, index: int, reference: str) -> PullSnapshot:
        client = self.clients[index]
        *_, last = client.events(client.start_pull(reference).pull)
        assert last.state == "done", last.error
        return last

    def same_content(self, name: str, pull: PullSnapshot) -> bool:
        here = self.home / name / "model.safetensors"
        return (Path(pull.path) / "model.safetensors").read_bytes() == here.read_bytes()


def _safetensors(size: int) -> bytes:
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    return len(header).to_bytes(8, "little") + header + os.urandom(size)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with two_hosts() as hosts, Registry(tmp_path / "registry", address=HERE) as registry:
        running = Pair(tmp_path, hosts, registry)
        try:
            running.start()
            yield running
        finally:
            running.stop()


def test_all_peer_bytes_come_by_rdma(pair: Pair) -> None:
    reference = pair.publish("model")
    pair.pull(0, reference)
    before = counter(pair.hosts[1].device, "rcvd_pkts")
    pulled = pair.pull(1, reference)
    assert pulled.origin == 0
    assert pulled.rdma == pulled.peers == pulled.size
    assert counter(pair.hosts[1].device, "rcvd_pkts") - before >= SIZE // MTU
    assert pair.same_content("model", pulled)
    assert pair.clients[1].status()["rdma_detours"] == {}


def test_a_device_removed_at_half_time_and_back_again(pair: Pair) -> None:
    reference, second = pair.publish("model"), pair.publish("another")
    for model in (reference, second):
        pair.pull(0, model)
    child, host = pair.clients[1], pair.hosts[1]
    removal = None
    for now in child.events(child.start_pull(reference).pull):
        pulled = now
        if removal is None and now.rdma >= SIZE // 4:
            removal = subprocess.Popen(["rdma", "link", "delete", host.device])
    assert removal is not None
    assert removal.wait(60) == 0
    assert pulled.state == "done", pulled.error
    assert pair.same_content("model", pulled)
    assert 0 < pulled.rdma < pulled.peers == pulled.size
    assert any("over TCP instead of RDMA" in note and host.device in note for note in pulled.notes), pulled.notes
    detours = child.status()["rdma_detours"]
    assert any(host.device in reason for reason in detours), detours
    add_device(host.device, host.link)
    wait_until("the device", lambda: host.device in child.status()["rdma"])
    pulled = pair.pull(1, second)
    assert pair.same_content("another", pulled)
    assert pulled.rdma > 0, pulled.notes
