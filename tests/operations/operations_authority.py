"""Another authority over nodes takes the old one's place, with processes and a transfer under way: `make
test-operations`."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from modeldist.agent.local_client import LocalAgent
from tests.servers.cluster import Cluster

NODES = 3
LIFETIME = 16.0  # seconds of a certificate
RATE = 3_000_000  # bytes/s that the parent sends
LONG = 100_000_000  # bytes: longer than both overlaps
SHORT = 3 << 20
PATIENCE = 120.0  # seconds for a process to start


class Town:
    """Nodes that speak TLS or not at all; `models` is a folder that all may read."""

    def __init__(self, home: Path) -> None:
        self.models = home / "models"
        self.models.mkdir()
        self.cluster = Cluster(
            home / "cluster",
            agents=NODES,
            file_roots=(self.models,),
            environment={"MODELDIST_SERVER_CERTIFICATE_LIFETIME": str(LIFETIME)},
            nodes={0: {"MODELDIST_AGENT_UPLOAD_RATE": str(RATE)}},
            piece_tls="require",
        )

    def agent(self, index: int) -> LocalAgent:
        return LocalAgent(Path(self.cluster.environment(index)["MODELDIST_SOCKET"]))

    def add(self, name: str, size: int) -> str:
        (self.models / name).mkdir()
        (self.models / name / "model.safetensors").write_bytes(os.urandom(size))
        return f"file://{self.models / name}"

    def on_the_first(self, name: str, size: int) -> str:
        """A model that the others can have of it."""
        reference = self.add(name, size)
        *_, last = self.agent(0).events(self.agent(0).start_pull(reference).pull)
        assert last.state == "done", last.error
        return reference

    def authority(self, *command: str) -> Any:
        done = self.cluster.run(0, "authority", *command, "--state-dir", str(self.cluster.home / "control"))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in command else done.stdout

    def trusted(self, index: int) -> list[str]:
        """Fingerprints of what a node has written down."""
        bundle = (self.cluster.store(index) / "identity" / "authority.pem").read_bytes()
        return [each.fingerprint(hashes.SHA256()).hex() for each in x509.load_pem_x509_certificates(bundle)]


@pytest.fixture
def town() -> Iterator[Town]:
    home = Path(tempfile.mkdtemp(prefix="modeldist-town-"))
    town = Town(home)
    for process in (town.cluster.server, *town.cluster.agents):
        process.patience = PATIENCE
    with town.cluster:
        yield town
    shutil.rmtree(home)


@pytest.mark.timeout(300)
def test_nothing_stops_while_an_authority_is_replaced(town: Town) -> None:
    """One long transfer, and connections made anew all the time, between nodes that renew when they will."""
    long = town.on_the_first("long", LONG)
    (old,) = town.trusted(0)
    pulling = town.agent(1).start_pull(long).pull
    town.authority("rotate")
    steps: list[str] = []
    for number in count():
        reference = town.on_the_first(f"short-{number}", SHORT)
        town.cluster.agents[2].stop()  # what it opens then, it opens with what it has now
        town.cluster.agents[2].start()
        town.cluster.wait_joined(2)
        *_, last = town.agent(2).events(town.agent(2).start_pull(reference).pull)
        assert last.state == "done", last.error
        assert (last.peers, last.origin) == (SHORT, 0), "another node was not trusted"
        shown = town.authority("show", "--json")
        if not steps or steps[-1] != shown["step"]:
            steps.append(shown["step"])
        if shown["step"] == "" and all(town.trusted(index) == shown["trusted"] for index in range(NODES)):
            break
    assert steps == ["coming", "leaving", ""]
    (new,) = shown["trusted"]
    assert new != old and shown["certifies"] == new
    *_, last = town.agent(1).events(pulling)
    assert (last.state, last.peers, last.origin) == ("done", LONG, 0), last
    for index in range(NODES):
        certificate = x509.load_pem_x509_certificate((town.cluster.store(index) / "identity" / "node.pem").read_bytes())
        (authority,) = x509.load_pem_x509_certificates(
            (town.cluster.store(index) / "identity" / "authority.pem").read_bytes()
        )
        certificate.verify_directly_issued_by(authority)
